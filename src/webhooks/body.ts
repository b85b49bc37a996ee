import type { Db } from '../db/connect.ts';
import type { DeliveryRow } from '../db/deliveries.ts';
import { findTask, listAttempts, type TaskRow } from '../db/tasks/read.ts';
import { presentTask } from '../tasks/present.ts';

const MAX_OUTPUT_BYTES = 20_000;

/** The body of a message as JSON text: `{type, timestamp, data}`. It is the same for every attempt. */
export async function bodyOf(db: Db, delivery: DeliveryRow, publicUrl: string): Promise<string> {
  return JSON.stringify({
    type: delivery.event,
    // The statement that moved the task made the delivery.
    timestamp: delivery.created_at.toISOString(),
    data: delivery.task_id === null ? delivery.data : await taskOf(db, delivery, delivery.task_id, publicUrl),
  });
}

/** The task as it was when the event happened, without its input, and without how many attempts had failed, which is not kept. */
async function taskOf(db: Db, delivery: DeliveryRow, taskId: string, publicUrl: string) {
  const task = await findTask(db, 'any', taskId);
  if (!task) throw new Error(`the task ${taskId} is gone`);
  const { input: _, failures: __, ...data } = presentTask(task, publicUrl);
  const event = delivery.event.slice('task.'.length);
  if (event === 'started' || event === 'progress') Object.assign(data, await whileRunning(db, delivery, task));
  // A retried task has moved on, perhaps without an attempt so far: the delivery tells of the end it was made for.
  else if (task.attempt !== delivery.task_attempt || task.status !== event)
    Object.assign(data, await atEnd(db, delivery, event));
  if (Buffer.byteLength(JSON.stringify(data.output)) >= MAX_OUTPUT_BYTES) data.output = null;
  return data;
}

async function whileRunning(db: Db, delivery: DeliveryRow, task: TaskRow) {
  const present = task.attempt === delivery.task_attempt;
  return {
    ...NOTHING,
    status: 'running',
    attempt: delivery.task_attempt,
    progress: delivery.data?.progress ?? null,
    started_at: present ? task.started_at : ((await attemptOf(db, delivery))?.started_at ?? null),
  };
}

async function atEnd(db: Db, delivery: DeliveryRow, status: string) {
  const then = await attemptOf(db, delivery);
  return {
    ...NOTHING,
    status,
    attempt: delivery.task_attempt,
    error: then?.error ?? null,
    model: then?.model ?? null,
    usage: then?.usage ?? null,
    started_at: then?.started_at ?? null,
    completed_at: delivery.created_at,
  };
}

const NOTHING = { output: null, error: null, progress: null, model: null, usage: null, completed_at: null };

async function attemptOf(db: Db, { task_id, task_attempt }: DeliveryRow) {
  const attempts = await listAttempts(db, task_id ?? '');
  return attempts.find(({ attempt }) => attempt === task_attempt);
}
