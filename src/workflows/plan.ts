import type { StepResult } from '../db/workflows/outputs.ts';
import { ExpressionError, type Language, parseTemplate, type Reference } from '../expressions/index.ts';
import type { Step } from '../tasks/workflow-definition.ts';
import { STEP_LANGUAGE } from './language.ts';

/** What a step waits to know, of which other steps. */
export interface Plan<T> {
  /** The ids of the steps whose results are looked at. */
  steps: string[];
  evaluate(context: Context): T;
}

/** What expressions see. `steps` has those alone that they name. */
export interface Context {
  input: unknown;
  steps: Record<string, StepResult>;
  item?: unknown;
  index?: number;
  output?: unknown;
}

/** Whether it begins at all, and with which list; without `for_each` there is none. */
export function planOfStart({ when, for_each }: Step): Plan<{ begins: boolean; list?: unknown[] }> {
  const condition = when === undefined ? undefined : STEP_LANGUAGE.parse(when);
  const list = typeof for_each === 'string' ? STEP_LANGUAGE.parse(for_each) : undefined;
  return {
    steps: stepsOf([...(condition?.references ?? []), ...(list?.references ?? [])]),
    evaluate(context) {
      if (condition && !truth(condition.evaluate({ ...context }))) return { begins: false };
      if (for_each === undefined) return { begins: true };
      const found = list ? list.evaluate({ ...context }) : for_each;
      if (!Array.isArray(found)) throw new ExpressionError('for_each must give a list');
      return { begins: true, list: found };
    },
  };
}

/** What a template comes to: an input, or an output. */
export function planOfTemplate(language: Language, template: unknown): Plan<unknown> {
  const parsed = parseTemplate(language, template);
  return { steps: stepsOf(parsed.references), evaluate: (context) => parsed.fill({ ...context }) };
}

function truth(value: unknown): boolean {
  if (typeof value !== 'boolean') throw new ExpressionError('when must give true or false');
  return value;
}

const stepsOf = (references: Reference[]) => [
  ...new Set(references.flatMap(({ root, path }) => (root === 'steps' && path[0] !== undefined ? [path[0]] : []))),
];
