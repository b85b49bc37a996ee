// Makes the boards in deploy/monitoring/grafana/dashboards, the list of alerts in docs/runbooks, and the rules as the operator of
// Prometheus takes them: `node scripts/dashboards.ts` says which are not up to date, with `--write` they are written.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { renderClusterRules } from './cluster-rules.ts';
import { API_BOARD } from './dashboards/api.ts';
import { build } from './dashboards/grafana.ts';
import { LANES_BOARD } from './dashboards/lanes.ts';
import { MODELS_BOARD } from './dashboards/models.ts';
import { OVERVIEW } from './dashboards/overview.ts';
import { STORES_BOARD } from './dashboards/stores.ts';
import { fillTables, table } from './tables.ts';

const FOLDER = new URL('../deploy/monitoring/grafana/dashboards/', import.meta.url);
const RULES = new URL('../deploy/monitoring/prometheus/rules/', import.meta.url);
const RUNBOOKS = new URL('../docs/runbooks/README.md', import.meta.url);
const CLUSTER_RULES = new URL('../deploy/kubernetes/components/prometheus/rules.yaml', import.meta.url);

/** What each file has to hold, by its name. */
export function renderDashboards(): Record<string, string> {
  const boards = [OVERVIEW, LANES_BOARD, MODELS_BOARD, API_BOARD, STORES_BOARD];
  return Object.fromEntries(
    boards.map((board) => [`${board.name}.json`, `${JSON.stringify(build(board), null, 2)}\n`]),
  );
}

interface Rule {
  alert?: string;
  labels?: Record<string, string>;
  annotations: Record<string, string>;
}

/** The list of alerts as it has to be. */
export function renderRunbookList(): string {
  const rules = readdirSync(RULES)
    .sort()
    .flatMap((name) => {
      const { groups } = parse(readFileSync(new URL(name, RULES), 'utf8')) as { groups: Array<{ rules: Rule[] }> };
      return groups.flatMap((group) => group.rules);
    });
  const rows = rules.flatMap(({ alert, labels = {}, annotations }) => {
    if (!alert) return [];
    const page = annotations.runbook_url?.split('/').pop();
    return [
      [`[${alert}](${page})`, `${labels.severity}${labels.rollback ? ', rollback' : ''}`, `${annotations.description}`],
    ];
  });
  const head = ['alert', 'severity', 'means'];
  return fillTables(readFileSync(RUNBOOKS, 'utf8'), { alerts: () => table(head, rows) });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const files = [
    ...Object.entries(renderDashboards()).map(([name, text]) => [new URL(name, FOLDER), text] as const),
    [RUNBOOKS, renderRunbookList()] as const,
    [CLUSTER_RULES, renderClusterRules()] as const,
  ];
  for (const [file, text] of files) {
    if (process.argv.includes('--write')) writeFileSync(file, text);
    else if (readFileSync(file, 'utf8') !== text) console.log(`${file.pathname} is not up to date`);
  }
}
