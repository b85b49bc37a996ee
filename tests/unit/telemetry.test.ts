import { expect, it } from 'vitest';
import { CATALOGUE } from '../../src/telemetry/catalogue.ts';
import type { Metric } from '../../src/telemetry/metric.ts';
import { metrics, registry } from '../../src/telemetry/metrics.ts';
import { inSpan, isTracing, traceHeaders } from '../../src/telemetry/tracing.ts';
import { filesUnder, readText } from '../support/sources.ts';

const ALL: Metric[] = Object.values(CATALOGUE);

it('every metric has a name of its own that says what it counts, and in which unit', () => {
  expect(new Set(ALL.map(({ name }) => name)).size).toBe(ALL.length);
  for (const { kind, name } of ALL) {
    expect(name).toMatch(/^sutazai_[a-z]+(_[a-z]+)*$/);
    expect([name, name.endsWith('_total')]).toEqual([name, kind === 'counter']);
    if (kind === 'histogram') expect(name).toMatch(/_seconds$/);
  }
});

it('no label holds what users name, ids or addresses', () => {
  const bounded = ['method', 'route', 'status_class', 'code', 'reason', 'lane', 'type', 'status', 'outcome', 'state'];
  const ours = ['model', 'host', 'direction', 'agent_type', 'kind', 'dependency', 'pool', 'version', 'node', 'mode'];
  expect(ALL.flatMap(({ labels }) => labels).filter((label) => ![...bounded, ...ours].includes(label))).toEqual([]);
});

it('what is counted is shown as it is declared', async () => {
  metrics.httpProblems.inc({ code: 'not_found' }, 2);
  const text = await registry.metrics();
  expect(text).toContain('# TYPE sutazai_http_problems_total counter');
  expect(text).toMatch(/^sutazai_http_problems_total\{code="not_found"\} [2-9]/m);
  for (const { name, kind } of ALL) expect(text).toContain(`# TYPE ${name} ${kind}`);
});

it('nothing is told of traces until they are switched on, and what sends them is not even loaded', async () => {
  const describe = () => {
    throw new Error('a span was described');
  };
  expect(isTracing()).toBe(false);
  expect(await inSpan(describe, async (span) => span ?? 'no span')).toBe('no span');
  expect(traceHeaders()).toEqual({});
  const importing = filesUnder('src', /\.ts$/).filter((path) => /^import [^;]*otlp\.ts'/m.test(readText(path)));
  expect(importing).toEqual([]);
});
