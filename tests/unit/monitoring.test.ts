import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { renderDashboards, renderRunbookList } from '../../scripts/dashboards.ts';
import { CATALOGUE } from '../../src/telemetry/catalogue.ts';
import type { Metric } from '../../src/telemetry/metric.ts';
import {
  alerts,
  boards,
  judging,
  MISSING_PROGRAMS,
  MONITORING,
  pageOf,
  panelQueries,
  recorded,
  ruleFiles,
} from '../support/monitoring.ts';
import { filesUnder, ROOT, readText } from '../support/sources.ts';

const has = (program: (typeof MISSING_PROGRAMS)[number]) => !MISSING_PROGRAMS.includes(program);

/** Runs a program in the folder of monitoring; what it prints is the message of a failure. */
function check(program: string, args: string[]): void {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: join(ROOT, MONITORING), encoding: 'utf8' });
  expect(status, stdout + stderr).toBe(0);
}

test('the boards are what their source gives; `node scripts/dashboards.ts --write` writes them', () => {
  const rendered = renderDashboards();
  const folder = `${MONITORING}/grafana/dashboards`;
  expect(filesUnder(folder)).toEqual(
    Object.keys(rendered)
      .map((name) => `${folder}/${name}`)
      .sort(),
  );
  for (const [name, text] of Object.entries(rendered)) expect(readText(`${folder}/${name}`), name).toBe(text);
});

test('each panel says what it shows, and what it asks for', () => {
  for (const { title, panels } of boards())
    for (const panel of panels.filter((one) => one.targets)) {
      expect(panel.description, `${title}: ${panel.title}`).toMatch(/\.$/);
      expect(panel.targets?.length, `${title}: ${panel.title}`).toBeGreaterThan(0);
    }
});

test('rules and boards name metrics and labels that are in the catalogue, or that a rule records', () => {
  const ours = new Map(Object.values(CATALOGUE as Record<string, Metric>).map((metric) => [metric.name, metric]));
  const records = new Set(recorded().map(({ record }) => record));
  const variables = boards().flatMap(({ title, templating }) =>
    (templating.list ?? []).map(({ query }) => ({ where: title, expr: query })),
  );
  const queries = [
    ...panelQueries(),
    ...variables,
    ...[...alerts(), ...recorded()].map((rule) => ({
      where: 'alert' in rule ? rule.alert : rule.record,
      expr: rule.expr,
    })),
  ];
  const unknown = queries.flatMap(({ where, expr }) => [
    ...[...expr.matchAll(/(?<![\w:])(sutazai_\w+)(?:\{([^}]*)\})?/g)].flatMap(([, name = '', matchers = '']) => {
      const metric = ours.get(name) ?? ours.get(name.replace(/_(bucket|count|sum)$/, ''));
      if (!metric) return [`${where}: ${name}`];
      const labels = [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label]) => label as string);
      return labels
        .filter((label) => ![...metric.labels, 'job', 'instance', 'le'].includes(label))
        .map((label) => `${where}: ${name} has no label ${label}`);
    }),
    ...[...expr.matchAll(/\b\w+:sutazai_\w+:\w+/g)]
      .filter(([name]) => !records.has(name))
      .map(([name]) => `${where}: ${name}`),
  ]);
  expect(unknown).toEqual([]);
});

test('what a rule records is asked for somewhere', () => {
  const asked = [...panelQueries(), ...alerts(), ...recorded()].map(({ expr }) => expr).join('\n');
  expect(recorded().filter(({ record }) => !asked.includes(record))).toEqual([]);
});

test('every alert says how bad it is, what it means and where to read on', () => {
  for (const { alert, labels, annotations } of alerts()) {
    expect(labels.severity, alert).toMatch(/^(critical|warning|info|none)$/);
    expect(annotations.summary, alert).toBeTruthy();
    expect(annotations.description, alert).toMatch(/^[^{}]+\.$/);
    expect(annotations.runbook_url, alert).toBe(`{{ $externalLabels.runbooks }}/${pageOf(alert).split('/').pop()}`);
  }
  expect(new Set(alerts().map(({ alert }) => alert)).size).toBe(alerts().length);
});

test('every alert has its page, and every page its alert', () => {
  const pages = filesUnder('docs/runbooks').filter((path) => !path.endsWith('/README.md'));
  expect(pages).toEqual(
    alerts()
      .map(({ alert }) => pageOf(alert))
      .sort(),
  );
  for (const { alert } of alerts()) expect(readText(pageOf(alert)).split('\n')[0]).toBe(`# ${alert}`);
  expect(readText('docs/runbooks/README.md')).toBe(renderRunbookList());
});

test('the reasons to take a release back, and only they, are marked as such', () => {
  const marked = alerts().filter(({ labels }) => labels.rollback === 'true');
  expect(marked.map(({ alert }) => alert).sort()).toEqual([
    'AuthUnavailable',
    'DataCorrupted',
    'ErrorRateHigh',
    'TasksFail',
  ]);
  const of = (name: string) => marked.find(({ alert }) => alert === name);
  expect(of('ErrorRateHigh')?.expr.trim().split('\n')).toEqual([
    'api:sutazai_http_errors:ratio5m > 0.25',
    'and sum(increase(sutazai_http_requests_total{route!~"/(healthz|readyz)"}[5m])) > 20',
  ]);
  expect(of('AuthUnavailable')?.for).toBe('5m');
});

/** What the tests of the rules expect. */
const tried = filesUnder(`${MONITORING}/prometheus/tests`).flatMap((path) => {
  const { tests } = parse(readText(path)) as {
    tests: Array<{
      alert_rule_test: Array<{ alertname: string; exp_alerts: Array<{ exp_labels: Record<string, string> }> }>;
    }>;
  };
  return tests.flatMap((one) => one.alert_rule_test);
});

test('every alert is tried when it fires and when it does not', () => {
  const of = (fires: boolean) => tried.filter((one) => one.exp_alerts.length > 0 === fires).map((one) => one.alertname);
  for (const { alert } of alerts()) {
    expect(of(true), alert).toContain(alert);
    // This one always does.
    if (alert !== 'Watchdog') expect(of(false), alert).toContain(alert);
  }
});

test('what Alertmanager leaves out or sorts names alerts that there are', () => {
  const names = readText(`${MONITORING}/alertmanager/alertmanager.yml`).matchAll(/alertname !?=~? "?([\w|]+)/g);
  const known = alerts().map(({ alert }) => alert);
  for (const [, list = ''] of names) for (const name of list.split('|')) expect(known).toContain(name);
});

test('each alert that keeps others quiet can do so, and keeps quiet what is less bad', () => {
  const { inhibit_rules } = parse(readText(`${MONITORING}/alertmanager/alertmanager.yml`)) as {
    inhibit_rules: Array<{ source_matchers: string[]; target_matchers: string[]; equal?: string[] }>;
  };
  const fired: Array<Record<string, string>> = tried.flatMap(({ alertname, exp_alerts }) =>
    exp_alerts.map(({ exp_labels }) => ({ ...exp_labels, alertname })),
  );
  const fits = (matchers: string[]) =>
    fired.filter((labels) =>
      matchers.every((matcher) => {
        const [, name = '', not, value] = /^(\w+) (!?)= (\w+)$/.exec(matcher) ?? [];
        expect(value, matcher).toBeDefined();
        return (labels[name] === value) !== (not === '!');
      }),
    );
  for (const { source_matchers, target_matchers, equal = [] } of inhibit_rules) {
    const pairs = fits(source_matchers).flatMap((source) =>
      fits(target_matchers)
        .filter((target) => source.alertname !== target.alertname && !equal.includes('alertname'))
        .filter((target) => equal.every((name) => source[name] && target[name]))
        .map((target) => [source.severity, target.severity]),
    );
    expect(pairs.map(String), `${source_matchers}`).toContain('critical,warning');
    expect(pairs.filter(([source, target]) => source !== 'critical' || target === 'critical')).toEqual([]);
  }
});

test('an expression is judged by what it compares, and not by its labels', () => {
  expect(judging('a{x!="1", y=~"2"} == 0 and on (z) b > 2 or c{d="a>b"} >= d')).toBe(
    'a{x!="1", y=~"2"} == bool 0 and on (z) b > bool 2 or c{d="a>b"} >= bool d',
  );
});

test.skipIf(!has('promtool'))(
  'Prometheus takes its configuration and its rules, and they do what their tests say',
  () => {
    check('promtool', ['check', 'config', 'prometheus/prometheus.yml']);
    // Debian's is built without Kubernetes.
    const { scrape_configs, ...inCluster } = parse(readText(`${MONITORING}/prometheus/kubernetes.yml`));
    const known = scrape_configs.map(({ kubernetes_sd_configs: _, ...job }: Record<string, unknown>) => job);
    const rest = {
      ...inCluster,
      rule_files: [join(ROOT, MONITORING, 'prometheus/rules/*.yml')],
      scrape_configs: known,
    };
    const folder = mkdtempSync(join(tmpdir(), 'sutazai-prometheus-'));
    writeFileSync(join(folder, 'rest.yml'), stringify(rest));
    check('promtool', ['check', 'config', join(folder, 'rest.yml')]);
    rmSync(folder, { recursive: true });
    check('promtool', ['check', 'rules', ...ruleFiles().map((path) => path.replace(`${MONITORING}/`, ''))]);
    check('promtool', [
      'test',
      'rules',
      ...filesUnder(`${MONITORING}/prometheus/tests`).map((path) => join(ROOT, path)),
    ]);
  },
);

test.skipIf(!has('amtool'))('Alertmanager takes its configuration', () => {
  check('amtool', ['check-config', 'alertmanager/alertmanager.yml']);
});
