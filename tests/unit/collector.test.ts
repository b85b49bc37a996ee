import { expect, test } from 'vitest';
import { type Collector, collectorProblems } from '../support/collector-rules.ts';
import { readYaml } from '../support/compose-files.ts';

const pipelinesOf = (config: Collector) => config.service.pipelines;

/** The collector merges maps of its files, and takes lists from the last one. */
function readCollector(second: string): Collector {
  const base = readYaml('deploy/otel/collector.yaml') as unknown as Collector;
  const other = readYaml(`deploy/otel/${second}.yaml`) as unknown as Collector;
  const traces = { ...pipelinesOf(base).traces, ...pipelinesOf(other).traces };
  return {
    ...base,
    exporters: { ...base.exporters, ...other.exporters },
    service: { ...base.service, pipelines: { ...pipelinesOf(base), traces } },
  };
}

test.each(['keep', 'forward'])('the configuration of the collector with %s.yaml keeps the rules', (second) => {
  expect(collectorProblems(readCollector(second))).toEqual([]);
});

test('spans are counted in any case, and leave only with forward.yaml', () => {
  expect(pipelinesOf(readCollector('keep')).traces?.exporters).toEqual(['spanmetrics']);
  expect(pipelinesOf(readCollector('forward')).traces?.exporters).toEqual(['spanmetrics', 'otlphttp']);
});

test.each<[string, (config: Collector) => void, string]>([
  ['a processor that is not there', (c) => pipelinesOf(c).traces?.processors?.push('tail'), 'no processors tail'],
  ['an exporter that is not there', (c) => pipelinesOf(c).traces?.exporters?.push('jaeger'), 'no exporters jaeger'],
  ['a pipeline of nothing', (c) => Object.assign(pipelinesOf(c), { spans: {} }), 'spans is no kind of pipeline'],
  ['a part of no pipeline', (c) => Object.assign(c.exporters ?? {}, { file: {} }), 'nothing uses the exporters file'],
  ['a connector without an end', (c) => delete pipelinesOf(c)['metrics/spans'], 'connects nothing'],
  ['an extension that is not there', (c) => c.service.extensions?.push('pprof'), 'no extension pprof'],
  ['memory that is limited too late', (c) => pipelinesOf(c).traces?.processors?.reverse(), 'too late'],
])('%s is found', (_, spoil, problem) => {
  const config = structuredClone(readCollector('forward'));
  spoil(config);
  expect(collectorProblems(config).join('\n')).toContain(problem);
});
