import type { Db } from '../db/connect.ts';
import type { NewTask } from '../db/tasks/accept.ts';
import { findResults, OutputsTooLarge, type StepResult } from '../db/workflows/outputs.ts';
import type { Run } from '../db/workflows/runs.ts';
import { type Begun, ITEM_ROW_BYTES, insertItems, type ReadyStep } from '../db/workflows/steps.ts';
import { ExpressionError, takeFrom } from '../expressions/index.ts';
import { cleanText } from '../tasks/clean.ts';
import type { Step } from '../tasks/workflow-definition.ts';
import { type ChildOptions, isTask, makeChild, wrong } from './children.ts';
import { inputOf, isApproval, STEP_LANGUAGE } from './language.ts';
import { type Context, type Plan, planOfStart, planOfTemplate, told } from './plan.ts';

export interface StartOptions extends ChildOptions {
  /** The outputs that are in memory at a time, for one step at least, have at most so many bytes. */
  maxOutputBytes: number;
}

/** What steps that may begin came to, and the tasks that they are. */
export interface Started {
  begun: Begun[];
  children: NewTask[];
}

/** A list may have so many items, and so many characters and values in them. */
const MAX_ITEMS = 10_000;
const MAX_LIST = 4_194_304;
/** The items of all lists of a workflow may have so many bytes as they are stored. */
const MAX_ITEM_BYTES = 67_108_864;
const MAX_TITLE = 255;
const NO_LIMIT = 1_000_000;
/** What so many steps look at is read together. */
const TOGETHER = 20;

/** Works out what ready steps come to. What is wrong with one is its error, and keeps no other one from beginning. */
export async function startSteps(trx: Db, run: Run, ready: ReadyStep[], options: StartOptions): Promise<Started> {
  const started: Started = { begun: [], children: [] };
  const results = createResults(trx, run, options.maxOutputBytes);
  // All items of a step have one template.
  const templates = new Map<string, Plan<unknown>>();
  const templateOf = (step: string, its: Step) => {
    const known = templates.get(step);
    if (known) return known;
    const plan = planOfTemplate(STEP_LANGUAGE, inputOf(its), ['input']);
    templates.set(step, plan);
    return plan;
  };

  async function startOne({ step, item, definition, value }: ReadyStep): Promise<Omit<Begun, 'step' | 'item'>> {
    const its = definition as unknown as Step;
    const about: Context = { input: run.input, steps: {}, ...(item >= 0 ? { item: value, index: item } : {}) };
    if (item < 0) {
      const start = planOfStart(its);
      const { begins, list } = start.evaluate({ ...about, steps: await results.of(start.steps) });
      if (!begins) return { status: 'skipped' };
      if (list) return startList(step, its, list);
    }
    if (isApproval(its))
      return { status: 'awaiting', ...(its.expires_in_seconds ? { expires_in_seconds: its.expires_in_seconds } : {}) };
    const template = templateOf(step, its);
    const input = template.evaluate({ ...about, steps: await results.of(template.steps) });
    const title = titleOf(its.title ?? step, item);
    const made = await makeChild(trx, run, its, { title, input }, options);
    if (!isTask(made)) return { status: 'failed', error: made };
    started.children.push(made);
    return { status: 'running', child_id: made.id };
  }

  async function startList(step: string, its: Step, list: unknown[]): Promise<Omit<Begun, 'step' | 'item'>> {
    const refused = (detail: string) => ({ status: 'failed' as const, error: wrong('invalid_input', detail) });
    if (list.length > MAX_ITEMS) return refused(`The list has ${list.length} items; at most ${MAX_ITEMS} are taken.`);
    // One text may be in it very often, so it is weighed before it is written.
    if (takeFrom(MAX_LIST, list) < 0) return refused(`The list has more than ${MAX_LIST} characters in its items.`);
    if (list.length === 0) return { status: 'completed', items: 0 };
    const json = JSON.stringify(list);
    const bytes = run.item_bytes + Buffer.byteLength(json) + list.length * ITEM_ROW_BYTES;
    if (bytes > MAX_ITEM_BYTES)
      return refused(`With this list the items of the workflow have more than ${MAX_ITEM_BYTES} bytes together.`);
    run.item_bytes = bytes;
    await insertItems(trx, run.id, step, json, its.max_parallel ?? NO_LIMIT);
    return { status: 'running', items: list.length };
  }

  for (let from = 0; from < ready.length; from += TOGETHER) {
    const some = ready.slice(from, from + TOGETHER);
    await results.expect(some.flatMap((one) => namedBy(one, templateOf)));
    for (const one of some) {
      const { step, item } = one;
      const became = await startOne(one).catch((error) => failureOf(error, options.maxOutputBytes));
      started.begun.push({ step, item, ...became });
    }
  }
  return started;
}

/** As long as the title of a task may be. */
function titleOf(name: string, item: number): string {
  const which = item < 0 ? '' : `[${item}]`;
  return cleanText([...name].slice(0, MAX_TITLE - which.length).join('') + which);
}

/** The steps whose results will be asked for, as far as that can be read. */
function namedBy(
  { step, item, definition }: ReadyStep,
  templateOf: (step: string, its: Step) => Plan<unknown>,
): string[] {
  const its = definition as unknown as Step;
  try {
    const start = item < 0 ? planOfStart(its).steps : [];
    return its.for_each !== undefined && item < 0 ? start : [...start, ...templateOf(step, its).steps];
  } catch (error) {
    // It is told of once the step begins.
    if (error instanceof ExpressionError) return [];
    throw error;
  }
}

/** What is wrong with an expression is an error of its step; the rest is thrown on. */
export function failureOf(error: unknown, maxBytes: number): { status: 'failed'; error: ReturnType<typeof wrong> } {
  if (error instanceof ExpressionError) return { status: 'failed', error: wrong('invalid_expression', told(error)) };
  if (error instanceof OutputsTooLarge)
    return {
      status: 'failed',
      error: wrong(
        'output_too_large',
        `The outputs that the step looks at have ${error.bytes} bytes together; at most ${maxBytes} are taken.`,
      ),
    };
  throw error;
}

/** Reads the results of steps; of those that were read before, it knows the last part. */
export function createResults(trx: Db, { id }: Pick<Run, 'id'>, maxBytes: number) {
  let known = new Map<string, StepResult>();
  return {
    /** Reads them together where they are not too large. */
    async expect(steps: string[]): Promise<void> {
      try {
        known = await findResults(trx, id, [...new Set(steps)], maxBytes);
      } catch (error) {
        if (!(error instanceof OutputsTooLarge)) throw error;
        known = new Map();
      }
    },
    async of(steps: string[]): Promise<Record<string, StepResult>> {
      const all = steps.every((step) => known.has(step)) ? known : await findResults(trx, id, steps, maxBytes);
      return Object.fromEntries(steps.flatMap((step) => (all.has(step) ? [[step, all.get(step) as StepResult]] : [])));
    },
  };
}
