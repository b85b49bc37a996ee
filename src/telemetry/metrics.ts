import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
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

function make({ kind, name, help, labels, values, buckets }: Metric): unknown {
  const declared = { name, help, labelNames: [...labels], registers: [registry] };
  if (kind === 'counter') {
    const made = new Counter(declared);
    // What is counted for the first time has to be seen to grow.
    if (labels.length > 0) for (const one of combinations(labels, values)) made.inc(one, 0);
    return made;
  }
  if (kind === 'gauge') return new Gauge(declared);
  return new Histogram({ ...declared, buckets: [...(buckets ?? [])] });
}

/** All that labels may be together; nothing where one of them is not a closed list. */
function combinations(labels: readonly string[], values: Metric['values']): Array<Record<string, string>> {
  return labels.reduce<Array<Record<string, string>>>(
    (all, label) => all.flatMap((one) => (values[label] ?? []).map((value) => ({ ...one, [label]: value }))),
    [{}],
  );
}

let watching = false;

/** Begins to measure what Node tells of itself: CPU, memory, the lag of the event loop, collections of garbage. */
export function watchProcess(): void {
  if (!watching) collectDefaultMetrics({ register: registry });
  watching = true;
}

/** Keeps the values of a label few: the first `max` are told apart, whatever comes later is `other`. */
export function bounded(max: number): (value: string) => string {
  const known = new Set<string>();
  return (value) => {
    if (known.has(value)) return value;
    if (known.size >= max) return 'other';
    known.add(value);
    return value;
  };
}
