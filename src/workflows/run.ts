import { setImmediate as breathe } from 'node:timers/promises';
import type { Db } from '../db/connect.ts';
import { countSteps, findResults, listLast, OutputsTooLarge } from '../db/workflows/outputs.ts';
import { findDepth, findRun, insertRun, isToRestart, type NewRun } from '../db/workflows/runs.ts';
import { TaskError } from '../errors.ts';
import { ExpressionError } from '../expressions/index.ts';
import type { Definition, Step } from '../tasks/workflow-definition.ts';
import type { WorkflowOutput } from '../tasks/workflow-tools.ts';
import type { Workflows } from './engine.ts';
import { needsOf, OUTPUT_LANGUAGE } from './language.ts';
import { planOfTemplate, told } from './plan.ts';

export interface RunOptions {
  db: Db;
  workflows: Pick<Workflows, 'moveOn' | 'restart'>;
  maxOutputBytes: number;
}

/** A workflow as its task hands it in. */
export interface Asked {
  taskId: string;
  input: unknown;
  /** What it does; asked for where it has not begun. */
  define: () => Promise<Definition>;
}

/** Of more steps than these, what nobody needs is no output by itself. */
const MAX_LAST = 1_000;
/** So many steps are read before others get their turn. */
const SLICE = 50;

/**
 * Runs a workflow as far as it comes without waiting: begins it, or begins again what its user wants again, and moves it on.
 * Answers what came of it; `undefined` where steps are at work, and its task is signalled once none is left.
 * @throws TaskError `step_failed`
 */
export async function runWorkflow(asked: Asked, options: RunOptions): Promise<WorkflowOutput | undefined> {
  const { db, workflows } = options;
  const { taskId } = asked;
  const known = await findRun(db, taskId);
  if (!known) await begin(asked, db);
  else if (isToRestart(known)) await workflows.restart(taskId);
  await workflows.moveOn(taskId);
  const run = await findRun(db, taskId);
  if (run?.phase !== 'ended') return undefined;
  if (run.error) throw new TaskError('step_failed', run.error.message);
  const { completed = 0, skipped = 0, failed = 0 } = await countSteps(db, taskId);
  return { output: await outputOf(taskId, run, options), steps: { completed, skipped, failed } };
}

async function begin({ taskId, input, define }: Asked, db: Db): Promise<void> {
  const { steps, output } = await define();
  const depth = await findDepth(db, taskId);
  const stored: NewRun['steps'] = [];
  for (const [index, step] of steps.entries()) {
    if (index % SLICE === SLICE - 1) await breathe();
    stored.push({ id: step.id, needs: readNeeds(step), definition: step as unknown as Record<string, unknown> });
  }
  await db.transaction().execute((trx) => insertRun(trx, { id: taskId, depth, input, output, steps: stored }));
}

/** @throws TaskError where it was stored by a version that read something else */
function readNeeds(step: Step): string[] {
  try {
    return [...needsOf(step).keys()];
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    throw new TaskError(
      'invalid_input',
      `An expression of the step ${step.id} cannot be read any more: ${error.message}. Store the workflow again.`,
    );
  }
}

async function outputOf(
  taskId: string,
  { input, output }: { input: unknown; output: unknown },
  { db, maxOutputBytes }: RunOptions,
): Promise<unknown> {
  try {
    if (output !== null) {
      const template = planOfTemplate(OUTPUT_LANGUAGE, output, ['output']);
      const results = await findResults(db, taskId, template.steps, maxOutputBytes);
      return template.evaluate({ input, steps: Object.fromEntries(results) });
    }
    const last = await listLast(db, taskId, MAX_LAST);
    if (!last) return null;
    const results = await findResults(db, taskId, last, maxOutputBytes);
    return Object.fromEntries(last.map((step) => [step, results.get(step)?.output ?? null]));
  } catch (error) {
    if (error instanceof ExpressionError) throw new TaskError('step_failed', told(error));
    if (!(error instanceof OutputsTooLarge)) throw error;
    // All is done, and each output is in its task.
    if (output === null) return null;
    throw new TaskError('output_too_large', `The outputs that the workflow answers have ${error.bytes} bytes.`);
  }
}
