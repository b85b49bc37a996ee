import { setImmediate as breathe } from 'node:timers/promises';
import type { Reference } from '../expressions/index.ts';
import type { Definition, Step } from '../tasks/workflow-definition.ts';
import { type ReadStep, readStep, STEP_LANGUAGE } from './language.ts';

type Place = Array<string | number>;

/** What a step takes straight from the input of the workflow, and without which it fails. */
export interface Want {
  step: string;
  /** Of the step in the definition. */
  index: number;
  /** Where in the step it is named. */
  place: Place;
  /** Names and indexes from the input on. */
  path: string[];
  kind: 'anything' | 'a list' | 'true or false';
}

/** So many steps are read before others get their turn. */
const SLICE = 50;

/**
 * What a step wants of the input. Of one that may fail, and of the input of one that may not come to it, that is nothing: where it has a
 * condition, or a list, which may be empty.
 */
export function wantsOfStep(
  { id: step, when, for_each, on_failure }: Step,
  { input }: ReadStep,
  index: number,
): Want[] {
  if (on_failure === 'continue') return [];
  const wants: Want[] = [];
  const want = (place: Place, kind: Want['kind'], one: Reference | undefined) => {
    if (one?.root === 'input') wants.push({ step, index, place, path: one.path, kind });
  };
  if (when !== undefined) {
    want(['when'], 'true or false', STEP_LANGUAGE.parse(when).alone);
    return wants;
  }
  if (for_each === undefined)
    for (const { place, wants: named } of input.texts)
      for (const one of named) want(['input', ...place], 'anything', one);
  else if (typeof for_each === 'string') want(['for_each'], 'a list', STEP_LANGUAGE.parse(for_each).alone);
  return wants;
}

/** The same of all steps of a definition that was checked before. */
export async function wantsOf({ steps }: Definition): Promise<Want[]> {
  const wants: Want[] = [];
  for (const [index, step] of steps.entries()) {
    if (index % SLICE === SLICE - 1) await breathe();
    wants.push(...wantsOfStep(step, readStep(step), index));
  }
  return wants;
}

/** Why a step that wants this would fail with that input; `undefined` where it has it. @param input `undefined` where there is none */
export function lackOf({ path, kind }: Want, input: unknown): string | undefined {
  let found: unknown = input ?? null;
  for (const name of path) {
    const there = typeof found === 'object' && found !== null && Object.hasOwn(found, name);
    if (!there) return `names ${['input', ...path].join('.')}, which is not in the input of the workflow`;
    found = (found as Record<string, unknown>)[name];
  }
  if (kind === 'anything' || (kind === 'a list' ? Array.isArray(found) : typeof found === 'boolean')) return undefined;
  const what =
    path.length > 0 || input !== undefined ? `and ${['input', ...path].join('.')} is none` : 'and there is no input';
  return `must give ${kind}, ${what}`;
}
