import { createLanguage, parseTemplate, type Reference, type Template } from '../expressions/index.ts';
import { APPROVAL, type Step } from '../tasks/workflow-definition.ts';

/** What expressions of steps know. Of `steps` only single ones can be named, so that no more is read than is asked for. */
export const STEP_LANGUAGE = createLanguage({ variables: ['input', 'steps', 'item', 'index'], named: ['steps'] });
/** The same in the input of `compensate`, which also knows what it undoes. */
export const UNDO_LANGUAGE = createLanguage({
  variables: ['input', 'steps', 'item', 'index', 'output'],
  named: ['steps'],
});
/** That of the output of a whole workflow. */
export const OUTPUT_LANGUAGE = createLanguage({ variables: ['input', 'steps'], named: ['steps'] });

/** A place of a step where another one is named, as keys and indexes. */
export interface Mention extends Reference {
  place: Array<string | number>;
}

export interface ReadStep {
  mentions: Mention[];
  input: Template;
  undo: Template | undefined;
}

/**
 * Reads the expressions of a step.
 * @param onError hears of those that cannot be read, each with its place in the step
 */
export function readStep(
  step: Step,
  onError: (error: unknown, place: Array<string | number>) => void = rethrow,
): ReadStep {
  const mentions: Mention[] = [];
  const tried = <T>(place: Array<string | number>, work: () => T): T | undefined => {
    try {
      return work();
    } catch (error) {
      onError(error, place);
      return undefined;
    }
  };
  for (const name of ['when', 'for_each'] as const) {
    const text = step[name];
    if (typeof text !== 'string') continue;
    const read = tried([name], () => STEP_LANGUAGE.parse(text));
    for (const one of read?.references ?? []) mentions.push({ ...one, place: [name] });
  }
  const template = (place: Array<string | number>, language: typeof STEP_LANGUAGE, value: unknown): Template => {
    const read = tried(place, () => parseTemplate(language, value)) ?? parseTemplate(language, null);
    for (const one of read.references) mentions.push({ ...one, place: [...place, ...one.place] });
    return read;
  };
  const input = template(['input'], STEP_LANGUAGE, inputOf(step));
  const undo = step.compensate && template(['compensate', 'input'], UNDO_LANGUAGE, inputOf(step.compensate));
  return { mentions, input, undo };
}

/** The steps that have to end before this one: those it says, and those that its expressions name. */
export function needsOf(step: Step, { mentions } = readStep(step)): Map<string, Array<string | number>> {
  const needs = new Map<string, Array<string | number>>();
  step.needs?.forEach((id, index) => void (needs.has(id) || needs.set(id, ['needs', index])));
  for (const { root, path, place } of mentions) {
    const [id] = path as [string];
    // What undoes a step comes after it, and may name it.
    const undoesIt = id === step.id && place[0] === 'compensate';
    if (root === 'steps' && !needs.has(id) && !undoesIt) needs.set(id, place);
  }
  return needs;
}

/** The input of a step or of what undoes it; empty where it says none. */
export function inputOf({ input }: { input?: unknown }): unknown {
  return input === undefined ? {} : input;
}

export const isApproval = ({ type }: { type: string }) => type === APPROVAL;

function rethrow(error: unknown): never {
  throw error;
}
