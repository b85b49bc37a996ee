import type { MetricsPage } from '../../health/metrics.ts';
import { answersText } from '../answer.ts';
import { defineRoute, type Route } from '../route.ts';

/** What Prometheus reads. It wants a permission, as everything does; the health port is for networks where that is not wanted. */
export function metricsRoutes({ metricsPage }: { metricsPage: MetricsPage | undefined }): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/metrics',
      summary: 'What this process counted and measured, for Prometheus',
      answers: {
        200: answersText(
          'In the text format of Prometheus.',
          'text/plain',
          '# HELP sutazai_tasks_accepted_total tasks stored\n# TYPE sutazai_tasks_accepted_total counter\nsutazai_tasks_accepted_total{lane="system",type="echo"} 1\n',
        ),
      },
      problems: ['not_found'],
      ...(metricsPage ? {} : { off: 'This server measures nothing (ENABLE_MONITORING=false).' }),
      async handle() {
        const { status, type, body } = await metricsPage!();
        return { status, text: body, headers: { 'Content-Type': type } };
      },
    }),
  ];
}
