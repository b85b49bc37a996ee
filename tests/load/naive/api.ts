// Its API: a token verified each time, one INSERT and one `queue.add` for each task.
import { randomUUID } from 'node:crypto';
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { jwt, sign } from 'hono/jwt';
import { v7 } from 'uuid';
import * as v from 'valibot';
import { db, migrate, openQueue, QUEUE, SECRET } from './stack.ts';

const submission = v.strictObject({
  input: v.strictObject({ prompt: v.string() }),
  priority: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(10)),
});

await migrate();
const queue = openQueue();
await queue.waitUntilReady();
const app = new Hono<{ Variables: { jwtPayload: { sub: string } } }>();
app.use('/tasks/*', jwt({ secret: SECRET, alg: 'HS256' }));

app.post('/tasks', async (c) => {
  const { input, priority } = v.parse(submission, await c.req.json());
  const task = { id: v7(), user_id: c.get('jwtPayload').sub, status: 'pending', priority, input };
  const row = await db.insertInto('tasks').values(task).returningAll().executeTakeFirstOrThrow();
  await queue.add(QUEUE, { id: task.id }, { priority, removeOnComplete: 1_000, removeOnFail: 5_000, attempts: 3 });
  return c.json(row, 202);
});

app.get('/tasks/:id', async (c) => {
  const task = await db.selectFrom('tasks').selectAll().where('id', '=', c.req.param('id')).executeTakeFirst();
  return task ? c.json(task) : c.json({ error: 'not found' }, 404);
});

const exp = Math.floor(Date.now() / 1000) + 86_400;
const userIds = Array.from({ length: Number(process.env.USERS) }, () => randomUUID());
const tokens = await Promise.all(userIds.map((sub) => sign({ sub, exp }, SECRET, 'HS256')));
serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, ({ port }) =>
  process.send?.({ url: `http://127.0.0.1:${port}`, tokens, userIds }),
);
