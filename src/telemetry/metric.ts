/** A metric as it is declared. */
export interface Metric<K extends Kind = Kind, L extends string = string> {
  kind: K;
  name: string;
  help: string;
  labels: readonly L[];
  /** What labels may be, where that is a closed list; a metric that has no other labels begins with each of them at 0. */
  values: Values<L>;
  /** Upper bounds of a histogram, in seconds. */
  buckets?: readonly number[];
}

export type Kind = 'counter' | 'gauge' | 'histogram';

type Values<L extends string> = { readonly [label in L]?: readonly string[] };

/** Counts what happened. */
export const counter = <const L extends string>(
  name: `sutazai_${string}_total`,
  help: string,
  labels: readonly L[],
  values: Values<L> = {},
): Metric<'counter', L> => ({ kind: 'counter', name, help, labels, values });

/** Says how something is now. */
export const gauge = <const L extends string>(
  name: `sutazai_${string}`,
  help: string,
  labels: readonly L[],
  values: Values<L> = {},
): Metric<'gauge', L> => ({ kind: 'gauge', name, help, labels, values });

/** Counts durations by how long they were. */
export const histogram = <const L extends string>(
  name: `sutazai_${string}_seconds`,
  help: string,
  labels: readonly L[],
  buckets: readonly number[],
): Metric<'histogram', L> => ({ kind: 'histogram', name, help, labels, values: {}, buckets });
