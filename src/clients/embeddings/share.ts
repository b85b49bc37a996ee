import type { Usage } from '../../tasks/tools.ts';

/** Divides a whole number into whole parts as the weights are to each other; the parts add up to it. */
export function share(total: number, weights: readonly number[]): number[] {
  const sum = weights.reduce((all, weight) => all + weight, 0);
  if (sum === 0) return weights.map((_, index) => (index === 0 ? total : 0));
  const exact = weights.map((weight) => (total * weight) / sum);
  const parts = exact.map(Math.floor);
  let left = total - parts.reduce((all, part) => all + part, 0);
  // What is left goes to those that lost most by rounding.
  const order = exact.map((_, index) => index).sort((a, b) => lost(b) - lost(a) || a - b);
  for (const index of order) if (left-- > 0) parts[index] = (parts[index] as number) + 1;
  return parts;

  function lost(index: number): number {
    return (exact[index] as number) - (parts[index] as number);
  }
}

/** What each of several texts of a call used: hosts count for the whole, so it is divided by the lengths of the texts. */
export function shareUsage(usage: Usage, texts: readonly string[]): Usage[] {
  const weights = texts.map(({ length }) => length);
  const of = (key: keyof Usage) => share(usage[key], weights);
  const [input, output, load, run] = [of('input_tokens'), of('output_tokens'), of('load_ms'), of('run_ms')];
  return texts.map((_, index) => ({
    input_tokens: input[index] as number,
    output_tokens: output[index] as number,
    load_ms: load[index] as number,
    run_ms: run[index] as number,
  }));
}

/** What several used together. */
export function sumUsage(all: Iterable<Usage>): Usage {
  const sum = { input_tokens: 0, output_tokens: 0, load_ms: 0, run_ms: 0 };
  for (const one of all) for (const key of Object.keys(sum) as Array<keyof Usage>) sum[key] += one[key];
  return sum;
}
