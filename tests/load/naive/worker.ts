// Its worker: a claim, a call by `fetch` and an UPDATE for each task.
import { db, openWorker } from './stack.ts';

const { MODEL_URL, CONCURRENCY } = process.env;

const worker = openWorker(async ({ data: { id } }) => {
  const task = await db
    .updateTable('tasks')
    .set({ status: 'running', started_at: new Date() })
    .where('id', '=', id)
    .returning(['input'])
    .executeTakeFirst();
  if (!task) return;
  const answer = await fetch(`${MODEL_URL}/api/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'tinyllama', prompt: task.input.prompt, stream: false }),
  });
  if (!answer.ok) throw new Error(`the model answered ${answer.status}`);
  const output = (await answer.json()) as object;
  await db
    .updateTable('tasks')
    .set({ status: 'completed', output, completed_at: new Date() })
    .where('id', '=', id)
    .execute();
}, Number(CONCURRENCY));
await worker.waitUntilReady();
process.send?.({ up: true });
