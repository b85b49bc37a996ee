import { expect, test } from 'vitest';
import { type Collector, collectorProblems } from '../support/collector-rules.ts';
import { readYaml } from '../support/compose-files.ts';
import { filesUnder, readText } from '../support/sources.ts';

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

test('spans are counted by what is one of a few, and by nothing that a user named', () => {
  const { connectors = {} } = readCollector('keep');
  const { exclude_dimensions, dimensions } = connectors.spanmetrics as {
    exclude_dimensions: string[];
    dimensions: Array<{ name: string }>;
  };
  expect(exclude_dimensions).toEqual(['span.name']);
  const sources = filesUnder('src', /\.ts$/).map(readText).join('\n');
  for (const { name } of dimensions) expect(sources).toContain(`'${name}'`);
  const named =
    /^(url\.|server\.|db\.collection|gen_ai\.(agent|request)|messaging\.message|sutazai\.(request|delivery))/;
  expect(dimensions.filter(({ name }) => named.test(name))).toEqual([]);
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
