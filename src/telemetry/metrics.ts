import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { CATALOGUE } from './catalogue.ts';
import type { Metric } from './metric.ts';

type Made<M> =
  M extends Metric<'counter', infer L>
    ? Counter<L>
    : M extends Metric<'gauge', infer L>
      ? Gauge<L>
      : M extends Metric<'histogram', infer L>
        ? Histogram<L>
        : never;

/** The metrics of the process: like its memory they are one, whatever runs in it. */
export const registry = new Registry();

/** Each metric of the catalogue, to be counted with. */
export const metrics = Object.fromEntries(
  Object.entries(CATALOGUE).map(([key, metric]) => [key, make(metric)]),
) as unknown as { [K in keyof typeof CATALOGUE]: Made<(typeof CATALOGUE)[K]> };

function make({ kind, name, help, labels, buckets }: Metric): unknown {
  const declared = { name, help, labelNames: [...labels], registers: [registry] };
  if (kind === 'counter') return new Counter(declared);
  if (kind === 'gauge') return new Gauge(declared);
  return new Histogram({ ...declared, buckets: [...(buckets ?? [])] });
}
