import { readdirSync, readFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';

const RULES = new URL('../deploy/monitoring/prometheus/rules/', import.meta.url);
/** Rules about monitoring itself, which who has the operator of Prometheus has from elsewhere. */
const OF_MONITORING = 'monitoring.yml';

/** The text of deploy/kubernetes/components/prometheus/rules.yaml as it has to be: the rules, as the operator takes them. */
export function renderClusterRules(): string {
  const files = readdirSync(RULES)
    .filter((name) => name !== OF_MONITORING)
    .sort();
  const groups = files.flatMap((name) => parse(readFileSync(new URL(name, RULES), 'utf8')).groups);
  const resource = {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PrometheusRule',
    metadata: { name: 'sutazai', labels: { 'app.kubernetes.io/component': 'settings' } },
    spec: { groups },
  };
  const head =
    '# From deploy/monitoring/prometheus/rules: `node scripts/dashboards.ts --write`. Those about monitoring itself come with the chart.';
  return `${head}\n${stringify(resource, { lineWidth: 0 })}`;
}
