import { spawnSync } from 'node:child_process';
import { parse } from 'yaml';
import { filesUnder, readText } from './sources.ts';

/** The programs of Debian's packages prometheus and prometheus-alertmanager. */
const PROGRAMS = ['prometheus', 'promtool', 'prometheus-alertmanager', 'amtool'] as const;

/** Those of them that are not on this machine. Where some are, tests that need them are left out; in CI never. */
export const MISSING_PROGRAMS = PROGRAMS.filter((name) => spawnSync(name, ['--version']).status !== 0);
if (MISSING_PROGRAMS.length > 0) {
  const missing = `${MISSING_PROGRAMS.join(', ')} not here: apt-get install prometheus prometheus-alertmanager`;
  if (process.env.CI) throw new Error(`${missing}; in CI nothing is left out`);
  console.warn(`${missing}. What needs them is left out.`);
}

export const MONITORING = 'deploy/monitoring';
const RULES = `${MONITORING}/prometheus/rules`;

export interface Alert {
  alert: string;
  expr: string;
  for?: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
}

export interface Recorded {
  record: string;
  expr: string;
}

export const ruleFiles = () => filesUnder(RULES, /\.yml$/);

const rules = () =>
  ruleFiles().flatMap((path) => {
    const { groups } = parse(readText(path)) as { groups: Array<{ rules: Array<Alert | Recorded> }> };
    return groups.flatMap((group) => group.rules);
  });

export const alerts = () => rules().filter((rule): rule is Alert => 'alert' in rule);
export const recorded = () => rules().filter((rule): rule is Recorded => 'record' in rule);

interface BoardFile {
  title: string;
  annotations: { list: Array<{ expr: string }> };
  templating: { list?: Array<{ name: string; query: string }> };
  panels: Array<{ title: string; description?: string; targets?: Array<{ expr: string; legendFormat: string }> }>;
}

export const boards = () =>
  filesUnder(`${MONITORING}/grafana/dashboards`, /\.json$/).map((path) => JSON.parse(readText(path)) as BoardFile);

/** Every query of every panel, with what Grafana would put in the places of variables. */
export function panelQueries(): Array<{ where: string; expr: string; legend: string }> {
  return boards().flatMap(({ title, panels }) =>
    panels.flatMap((panel) =>
      (panel.targets ?? []).map(({ expr, legendFormat }) => ({
        where: `${title} / ${panel.title} / ${legendFormat}`,
        expr: expr.replaceAll('$__rate_interval', '1m').replace(/\$\w+/g, '.*'),
        legend: legendFormat,
      })),
    ),
  );
}

/**
 * An expression that leaves out what is well, made to answer 0 or 1 for it: then it is empty only where there is nothing to
 * judge. Braces and strings hold comparisons of another kind, and are left alone.
 */
export function judging(expr: string): string {
  return expr.replace(/\{[^}]*\}|"[^"]*"|(==|!=|<=|>=|<|>)/g, (all, comparison) =>
    comparison ? `${comparison} bool` : all,
  );
}

/** The page of an alert. */
export const pageOf = (alert: string) =>
  `docs/runbooks/${alert.replace(/(?<!^)[A-Z]/g, (letter) => `-${letter}`).toLowerCase()}.md`;
