/** A metric as it is declared. */
export interface Metric<K extends Kind = Kind, L extends string = string> {
  kind: K;
  name: string;
  help: string;
  labels: readonly L[];
  /** Upper bounds of a histogram, in seconds. */
  buckets?: readonly number[];
}

export type Kind = 'counter' | 'gauge' | 'histogram';

/** Counts what happened. */
export const counter = <const L extends string>(
  name: `sutazai_${string}_total`,
  help: string,
  labels: readonly L[],
): Metric<'counter', L> => ({ kind: 'counter', name, help, labels });

/** Says how something is now. */
export const gauge = <const L extends string>(
  name: `sutazai_${string}`,
  help: string,
  labels: readonly L[],
): Metric<'gauge', L> => ({ kind: 'gauge', name, help, labels });

/** Counts durations by how long they were. */
export const histogram = <const L extends string>(
  name: `sutazai_${string}_seconds`,
  help: string,
  labels: readonly L[],
  buckets: readonly number[],
): Metric<'histogram', L> => ({ kind: 'histogram', name, help, labels, buckets });
