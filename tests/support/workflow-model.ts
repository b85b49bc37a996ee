import type { Step } from '../../src/tasks/workflow-definition.ts';

/** What a workflow does is said here once more in plain words: steps in an order that fits, one after the other. */

export type Random = () => number;

/** Numbers that are the same for the same seed. */
export function randomFrom(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export interface Sample {
  steps: Array<Step & { needs: string[]; for_each?: number[]; only?: string }>;
  /** The titles of the tasks that fail. */
  failing: Set<string>;
}

/** A workflow of some steps, of which some fail. */
export function sampleOf(random: Random): Sample {
  const failing = new Set<string>();
  const chance = (part: number) => random() < part;
  const pick = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)] as T;
  const ids = Array.from({ length: 2 + Math.floor(random() * 7) }, (_, n) => `s${n}`);
  const failures = chance(0.6) ? 0.2 : 0;
  const steps = ids.map((id, n) => {
    const needs = ids.slice(0, n).filter(() => chance(0.35));
    const only = n > 0 && chance(0.25) ? pick(ids.slice(0, n)) : undefined;
    const list = chance(0.3) ? Array.from({ length: Math.floor(random() * 5) }, (_, item) => item * 10) : undefined;
    if (only && !needs.includes(only)) needs.push(only);
    for (const title of list ? list.map((_, item) => `${id}[${item}]`) : [id]) if (chance(failures)) failing.add(title);
    return {
      id,
      type: 'echo',
      needs,
      input: { message: list ? `\${{ string(item) }}` : `\${{ input.word }}` },
      ...(only ? { only, when: `steps.${only}.status == "completed"` } : {}),
      ...(list ? { for_each: list, ...(chance(0.5) ? { max_parallel: 2 } : {}) } : {}),
      on_failure: pick(['fail', 'continue', 'continue', 'compensate'] as const),
      ...(chance(0.5) ? { compensate: { type: 'echo', input: { message: '${{ output.message }}' } } } : {}),
    };
  });
  return { steps: steps as Sample['steps'], failing };
}

/** How each step ends; `undefined` where one stops the workflow, so that it depends on the time which others begin. */
export function endsOf({ steps, failing }: Sample): Map<string, string> | undefined {
  const ends = new Map<string, string>();
  for (const { id, for_each, only, on_failure } of steps) {
    if (only && ends.get(only) !== 'completed') {
      ends.set(id, 'skipped');
      continue;
    }
    const titles = for_each ? for_each.map((_, item) => `${id}[${item}]`) : [id];
    const fails = titles.some((title) => failing.has(title));
    if (fails && on_failure !== 'continue') return undefined;
    ends.set(id, fails ? 'failed' : 'completed');
  }
  return ends;
}
