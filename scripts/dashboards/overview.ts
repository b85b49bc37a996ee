import type { Board } from './grafana.ts';

/** The page to open first: is it well, and where to look on. */
export const OVERVIEW: Board = {
  name: 'overview',
  title: 'SutazAI: overview',
  shows: 'Is it well, and if not, which of the other boards says why.',
  rows: [
    {
      title: 'Is it well?',
      panels: [
        {
          title: 'Alerts that fire',
          shows: 'Without the watchdog, which always does. Each alert names its page in docs/runbooks.',
          as: 'number',
          unit: 'none',
          queries: { alerts: 'count(ALERTS{alertstate="firing", alertname!="Watchdog"}) or vector(0)' },
          limits: { bad: 1 },
        },
        {
          title: 'API processes',
          shows: 'Those that Prometheus reaches.',
          as: 'number',
          unit: 'none',
          queries: { up: 'sum(up{job="api"})' },
          limits: { atLeast: 1 },
        },
        {
          title: 'Worker processes',
          shows: 'Those that Prometheus reaches.',
          as: 'number',
          unit: 'none',
          queries: { up: 'sum(up{job="worker"})' },
          limits: { atLeast: 1 },
        },
        {
          title: 'Answers that are errors',
          shows: 'The share of answers with a status of 500 or more. From 25 % on, take the last release back.',
          as: 'number',
          unit: 'percentunit',
          queries: { errors: 'api:sutazai_http_errors:ratio5m' },
          limits: { warn: 0.01, bad: 0.25 },
        },
        {
          title: 'Tasks that failed',
          shows: 'The share of those that ended within five minutes.',
          as: 'number',
          unit: 'percentunit',
          queries: { failed: 'sutazai:sutazai_tasks_failed:ratio5m' },
          limits: { warn: 0.05, bad: 0.25 },
        },
        {
          title: 'Oldest that waits',
          shows: 'How long the oldest task of any lane has been due.',
          as: 'number',
          unit: 's',
          queries: { oldest: 'max(lane:sutazai_queue_oldest_pending_seconds:max)' },
          limits: { warn: 300, bad: 1800 },
        },
        ...['database', 'queues', 'models', 'vectors'].map((dependency) => ({
          title: `Dependency: ${dependency}`,
          shows: '1 where every process finds that it works, 0 where at least one does not.',
          as: 'number' as const,
          unit: 'none' as const,
          queries: { up: `min(sutazai_dependency_up{dependency="${dependency}"})` },
          limits: { atLeast: 1 },
        })),
        {
          title: 'Lanes without a worker',
          shows: 'What waits in them waits for ever.',
          as: 'number',
          unit: 'none',
          queries: { lanes: 'count(lane:sutazai_queue_workers:max == 0) or vector(0)' },
          limits: { bad: 1 },
        },
        {
          title: 'Reconciler leads',
          shows: 'How many processes lead; it is one.',
          as: 'number',
          unit: 'none',
          queries: { leaders: 'sum(sutazai_reconciler_leader)' },
          limits: { atLeast: 1 },
        },
      ],
    },
    {
      title: 'Tasks',
      panels: [
        {
          title: 'Accepted and ended',
          shows: 'Tasks a second. Where more are accepted than end for long, more workers are needed.',
          unit: 'ops',
          queries: {
            accepted: 'sum(rate(sutazai_tasks_accepted_total[$__rate_interval]))',
            '{{status}}': 'sum by (status) (rate(sutazai_tasks_ended_total[$__rate_interval]))',
          },
        },
        {
          title: 'Waiting, by lane',
          shows: 'Tasks that are due and run in no worker yet.',
          unit: 'short',
          stacked: true,
          queries: { '{{lane}}': 'lane:sutazai_queue_pending:max' },
        },
        {
          title: 'Wait of those that begin, 95th percentile',
          shows: 'From when an attempt might have begun until a worker took it.',
          unit: 's',
          queries: { '{{lane}}': 'lane:sutazai_task_wait_seconds:p95_5m' },
        },
      ],
    },
    {
      title: 'Requests',
      panels: [
        {
          title: 'Answers by class of status',
          shows: '4xx are mistakes of callers, 5xx are ours.',
          unit: 'reqps',
          stacked: true,
          queries: {
            '{{status_class}}': 'sum by (status_class) (rate(sutazai_http_requests_total[$__rate_interval]))',
          },
        },
        {
          title: 'Time of quick routes',
          shows: 'Those that wait for nothing: without models, waiting for tasks, streams and files.',
          unit: 's',
          queries: {
            'half of them': 'api:sutazai_http_quick_seconds:p50_5m',
            '99 of 100': 'api:sutazai_http_quick_seconds:p99_5m',
          },
          limits: { bad: 2 },
        },
        {
          title: 'Versions',
          shows: 'Processes by the version that they run; two of them only while one takes the place of the other.',
          unit: 'none',
          stacked: true,
          queries: { '{{version}} {{mode}}': 'count by (version, mode) (sutazai_build_info)' },
        },
      ],
    },
  ],
};
