import type { Db } from '../db/connect.ts';
import type { StoredError } from '../db/schema.ts';
import type { NewTask } from '../db/tasks/accept.ts';
import { noteLine } from '../db/workflows/graph.ts';
import type { Run } from '../db/workflows/runs.ts';
import type { ReadyStep } from '../db/workflows/steps.ts';
import { beginUndo, countUndone, findLastDone, findOwnOutput } from '../db/workflows/undo.ts';
import type { Step } from '../tasks/workflow-definition.ts';
import { isTask, makeChild, wrong } from './children.ts';
import { inputOf, UNDO_LANGUAGE } from './language.ts';
import { planOfTemplate } from './plan.ts';
import { createResults, failureOf, type StartOptions } from './start.ts';

/** The task that undoes the last step that is done; `undefined` once all are undone that can be. */
export async function undoNext(trx: Db, run: Run, options: StartOptions): Promise<NewTask | undefined> {
  for (let last = await findLastDone(trx, run.id); last; last = await findLastDone(trx, run.id)) {
    const made = await undoingOf(trx, run, last, options);
    const task = isTask(made) ? made : undefined;
    await beginUndo(trx, run.id, last, task?.id ?? null);
    if (task) return task;
    const name = nameOf(last);
    const message = `The step ${name} could not be undone`;
    await noteLine(trx, run.id, { level: 'warn', message, fields: { step: name, error: made } });
  }
  const { completed, failed } = await countUndone(trx, run.id);
  const undone = `${completed} ${completed === 1 ? 'step was' : 'steps were'} undone`;
  const not = failed > 0 ? `, and ${failed} could not be` : '';
  if (run.error) run.error = wrong(run.error.code, `${run.error.message} ${undone}${not}.`);
  return undefined;
}

const nameOf = ({ step, item }: Pick<ReadyStep, 'step' | 'item'>) => (item < 0 ? step : `${step}[${item}]`);

async function undoingOf(
  trx: Db,
  run: Run,
  { step, item, definition, value }: ReadyStep,
  options: StartOptions,
): Promise<NewTask | StoredError> {
  const its = definition as unknown as Step;
  if (!its.compensate) return wrong('internal_error', 'Internal error');
  try {
    const template = planOfTemplate(UNDO_LANGUAGE, inputOf(its.compensate), ['compensate', 'input']);
    const input = template.evaluate({
      input: run.input,
      steps: await createResults(trx, run, options.maxOutputBytes).of(template.steps),
      output: await findOwnOutput(trx, run.id, { step, item }),
      ...(item >= 0 ? { item: value, index: item } : {}),
    });
    const title = `undo ${nameOf({ step, item })}`;
    return await makeChild(trx, run, { ...its, type: its.compensate.type }, { title, input }, options);
  } catch (error) {
    return failureOf(error, options.maxOutputBytes).error;
  }
}
