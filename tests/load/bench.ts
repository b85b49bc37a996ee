import { cpus, totalmem } from 'node:os';
import { type Options, readOptions, type Values } from './options.ts';

/** What a bench measures, in a line, and its options. */
interface Usage<O extends Options> {
  about: string;
  options: O;
}

export interface Bench extends Usage<Options> {
  /** Measures and prints; answers whether it is as good as it has to be. Throws a `UsageError` before it begins where the options are wrong. */
  start(args: string[]): Promise<boolean>;
}

export function defineBench<O extends Options>(
  usage: Usage<O>,
  measure: (values: Values<O>) => Promise<boolean>,
): Bench {
  return { ...usage, start: async (args) => measure(readOptions(usage.options, args)) };
}

/** The machine, in a few words. */
export function machine(): string {
  const all = cpus();
  return `${all.length} cores (${all[0]?.model ?? 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GB; Node ${process.versions.node}`;
}

/** The value below which the given part of the numbers lies. */
export function quantile(numbers: number[], part: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}

/** Rows as a table in Markdown; the first row is the head. */
export function table(rows: string[][]): string {
  const [head = [], ...body] = rows;
  return [head, head.map((_, column) => (column === 0 ? '---' : '---:')), ...body]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
}
