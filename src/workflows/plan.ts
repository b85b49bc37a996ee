import type { StepResult } from '../db/workflows/outputs.ts';
import { ExpressionError, type Language, parseTemplate, type Reference, TemplateError } from '../expressions/index.ts';
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

type Place = Array<string | number>;

/** Whether it begins at all, and with which list; without `for_each` there is none. @throws TemplateError */
export function planOfStart({ when, for_each }: Step): Plan<{ begins: boolean; list?: unknown[] }> {
  const condition = when === undefined ? undefined : at(['when'], () => STEP_LANGUAGE.parse(when));
  const list = typeof for_each === 'string' ? at(['for_each'], () => STEP_LANGUAGE.parse(for_each)) : undefined;
  return {
    steps: stepsOf([...(condition?.references ?? []), ...(list?.references ?? [])]),
    evaluate(context) {
      if (condition && !at(['when'], () => truth(condition.evaluate({ ...context })))) return { begins: false };
      if (for_each === undefined) return { begins: true };
      const found = at(['for_each'], () => entries(list ? list.evaluate({ ...context }) : for_each));
      return { begins: true, list: found };
    },
  };
}

/** What a template comes to: an input, or an output. @param place where it stands @throws TemplateError */
export function planOfTemplate(language: Language, template: unknown, place: Place): Plan<unknown> {
  const parsed = at(place, () => parseTemplate(language, template));
  return {
    steps: stepsOf(parsed.references),
    evaluate: (context) => at(place, () => parsed.fill({ ...context })),
  };
}

/** What is wrong with an expression, as a sentence that says where it stands. */
export function told(error: ExpressionError): string {
  const place = error instanceof TemplateError ? error.place : [];
  return `The expression in ${place.join('.')}: ${error.message}.`;
}

function at<T>(place: Place, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    const inner = error instanceof TemplateError ? error.place : [];
    throw new TemplateError(error.message, error.at, [...place, ...inner]);
  }
}

function truth(value: unknown): boolean {
  if (typeof value !== 'boolean') throw new ExpressionError('must give true or false');
  return value;
}

function entries(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw new ExpressionError('must give a list');
  return value;
}

const stepsOf = (references: Reference[]) => [
  ...new Set(references.flatMap(({ root, path }) => (root === 'steps' && path[0] !== undefined ? [path[0]] : []))),
];
