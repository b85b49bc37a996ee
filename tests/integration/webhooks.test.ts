import { sql } from 'kysely';
import { Webhook } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { findTask } from '../../src/db/tasks/read.ts';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { sendJson } from '../support/fake-ollama.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { until } from '../support/until.ts';
import { BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

interface Message {
  type: string;
  timestamp: string;
  data: PresentedTask;
}

describe.each(BACKENDS)('webhooks on %s', (backend) => {
  let world: World;
  let client: Client;
  let sink: Sink;
  beforeAll(async () => {
    world = await createWorld({ backend });
    client = await world.client();
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    sink = await startSink();
  });
  afterEach(async () => {
    world.ollama.script = undefined;
    await sink.close();
  });

  const echo = { message: 'secret input' };
  const message = (n: number): Message => JSON.parse(sink.received[n]!.body);
  const deliveries = (taskId: string) =>
    world.db.selectFrom('deliveries').selectAll().where('task_id', '=', taskId).orderBy('created_at').execute();
  const settled = (taskId: string) =>
    until('the delivery has ended', async () => {
      const rows = await deliveries(taskId);
      return rows.length > 0 && rows.every(({ status }) => ['delivered', 'failed'].includes(status)) && rows;
    });
  const waitingAgain = (taskId: string, attempt = 1) =>
    until('the delivery waits for another attempt', async () => {
      const [row] = await deliveries(taskId);
      return row?.attempt === attempt && row.status === 'pending' && row;
    });
  /** Lets a delivery that waits go out now: a lost worker is what makes a new job without waiting. */
  async function hurry(taskId: string): Promise<void> {
    await sql`update deliveries set status = 'running', lease_until = now() - interval '1 s' where task_id = ${taskId}`.execute(
      world.db,
    );
    await world.running.reconciler.runOnce();
  }

  it('tell of the end of a task, signed, with the output and without the input', async () => {
    const task = await client.submit('echo', echo, { webhook: { url: sink.url }, metadata: { order: 7 } });
    const [delivery] = await settled(task.id);
    expect(delivery).toMatchObject({ status: 'delivered', event: 'task.completed', attempt: 1, last_status: 204 });
    expect(sink.received).toHaveLength(1);
    const { headers, body } = sink.received[0]!;
    const verified = new Webhook(task.webhook_secret!).verify(body, headers as Record<string, string>) as Message;
    expect(headers['webhook-id']).toBe(delivery?.id);
    expect(verified.type).toBe('task.completed');
    expect(verified.data).toMatchObject({ id: task.id, status: 'completed', output: echo, metadata: { order: 7 } });
    expect(verified.data).not.toHaveProperty('input');
    expect(verified.timestamp).toBe(verified.data.completed_at);
    expect(body).not.toContain('webhook_secret');
    expect(() => new Webhook(`whsec_${Buffer.alloc(32).toString('base64')}`).verify(body, headers as never)).toThrow();
  });

  it('come to the endpoints that answer while as many others hang', async () => {
    const owner = await world.client();
    const [quick, hung] = await Promise.all([1, 2].map(() => Promise.all([1, 2, 3].map(startSink))));
    for (const other of hung!) other.answer = () => {};
    try {
      for (const { url } of [...hung!, ...quick!])
        expect((await owner.request('POST', '/api/v1/webhooks', { url })).status).toBe(201);
      const tasks = [];
      for (let n = 0; n < 6; n++) tasks.push((await owner.runTask('echo', { message: `${n}` })).id);
      for (const { received } of quick!) await until('it has all its messages', async () => received.length >= 6);
      for (const { received } of hung!) await until('it was called', async () => received.length >= 1);
      const rows = await world.db.selectFrom('deliveries').selectAll().where('task_id', 'in', tasks).execute();
      const of = (sinks: Sink[]) => rows.filter(({ url }) => sinks.some((one) => one.url === url));
      expect([of(quick!).length, of(hung!).length]).toEqual([18, 18]);
      // No call that hangs is over so far, so nobody had to wait for that.
      expect(of(hung!).every(({ last_error, completed_at }) => last_error === null && completed_at === null)).toBe(
        true,
      );
      for (const { received } of quick!)
        expect(received.map(({ body }) => (JSON.parse(body) as Message).data.id).sort()).toEqual(tasks.toSorted());
    } finally {
      for (const one of [...quick!, ...hung!]) await one.close();
    }
  });

  it('keep their id over retries, with a fresh time in each signature', async () => {
    sink.answer = (n, response) => void response.writeHead(n === 0 ? 500 : 200).end('thanks');
    const secret = `whsec_${Buffer.alloc(32, 9).toString('base64')}`;
    const { id } = await client.submit('echo', echo, { webhook: { url: sink.url, secret } });
    const waiting = await waitingAgain(id);
    const inMs = waiting.ready_at.getTime() - Date.now();
    expect(inMs).toBeGreaterThan(3_000);
    expect(inMs).toBeLessThan(7_000);
    await until('the second message', () => sink.received.length === 2);
    const [delivery] = await settled(id);
    expect(delivery).toMatchObject({ status: 'delivered', attempt: 2, generation: 0 });
    const [first, second] = sink.received.map(({ headers }) => headers);
    expect(second?.['webhook-id']).toBe(first?.['webhook-id']);
    expect(Number(second?.['webhook-timestamp'])).toBeGreaterThan(Number(first?.['webhook-timestamp']));
    for (const { headers, body } of sink.received) new Webhook(secret).verify(body, headers as never);
    const attempts = await world.db
      .selectFrom('delivery_attempts')
      .selectAll()
      .where('delivery_id', '=', delivery!.id)
      .orderBy('attempt')
      .execute();
    expect(attempts).toMatchObject([
      { attempt: 1, status: 500 },
      { attempt: 2, status: 200, error: null, response: 'thanks' },
    ]);
  });

  it('end when the endpoint says that it is gone', async () => {
    sink.answer = (_, response) => void response.writeHead(410).end();
    const { id } = await client.submit('echo', echo, { webhook: { url: sink.url } });
    expect(await settled(id)).toMatchObject([{ status: 'failed', attempt: 1, last_status: 410 }]);
  });

  it('do not follow redirects', async () => {
    const target = await startSink();
    sink.answer = (_, response) => void response.writeHead(307, { location: target.url }).end();
    const { id } = await client.submit('echo', echo, { webhook: { url: sink.url } });
    expect(await waitingAgain(id)).toMatchObject({ last_status: 307, last_error: expect.stringContaining('Redirect') });
    expect(target.received).toEqual([]);
    await target.close();
  });

  it.each([
    ['120', 120_000],
    ['99999999', 86_400_000],
    ['a date', 3_600_000],
    ['soon', 5_500],
  ])('wait as long as Retry-After: %s asks, within reason', async (asked, wanted) => {
    sink.answer = (_, response) => {
      const header = asked === 'a date' ? new Date(Date.now() + wanted).toUTCString() : asked;
      response.writeHead(429, { 'retry-after': header }).end();
    };
    const { id } = await client.submit('echo', echo, { webhook: { url: sink.url } });
    const inMs = (await waitingAgain(id)).ready_at.getTime() - Date.now();
    expect(Math.abs(inMs - wanted)).toBeLessThan(Math.max(2_000, wanted * 0.02));
  });

  it('give up on an endpoint after the last step of their schedule', async () => {
    sink.answer = (_, response) => void response.writeHead(500).end();
    const { id } = await client.submit('echo', echo, { webhook: { url: sink.url } });
    await waitingAgain(id);
    await sql`update deliveries set attempt = 9 where task_id = ${id}`.execute(world.db);
    await hurry(id);
    expect(await settled(id)).toMatchObject([{ status: 'failed', attempt: 10 }]);
    expect(sink.received.map(({ headers }) => headers['webhook-id'])).toEqual(
      Array(2).fill(sink.received[0]?.headers['webhook-id']),
    );
  });

  it('are made for subscribed events only', async () => {
    const webhook = { url: sink.url, events: ['task.failed'] };
    const good = await client.runTask('echo', echo, { webhook });
    world.ollama.script = (_, response) => {
      sendJson(response, 400, { error: 'no' });
      return true;
    };
    const bad = await client.runTask('embed', { input: 'x' }, { webhook });
    await settled(bad.id);
    expect(await deliveries(good.id)).toEqual([]);
    expect(message(0)).toMatchObject({ type: 'task.failed', data: { error: { code: 'upstream_rejected' } } });
  });

  it('leave out an output of 20 kB or more', async () => {
    const { id } = await client.runTask('echo', { message: 'x'.repeat(20_000) }, { webhook: { url: sink.url } });
    await settled(id);
    expect(message(0).data).toMatchObject({ status: 'completed', output: null });
    expect((await findTask(world.db, 'any', id))?.output).not.toBeNull();
  });

  it('tell of a task that was cancelled before its time at once, not at that time', async () => {
    const { id } = await client.submit('echo', echo, { delay_seconds: 3_600, webhook: { url: sink.url } });
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    await settled(id);
    expect(message(0)).toMatchObject({ type: 'task.cancelled', data: { status: 'cancelled', attempt: 0 } });
  });

  it.each(['is waiting', 'has ended'])(
    'tell of the end they were made for when the task was retried and %s',
    async (state) => {
      world.ollama.script = (_, response) => {
        sendJson(response, 400, { error: 'the first time' });
        return true;
      };
      sink.answer = (n, response) => void response.writeHead(n === 0 ? 500 : 200).end();
      const webhook = { url: sink.url, events: ['task.failed'] };
      const { id, completed_at } = await client.runTask('embed', { input: 'x' }, { webhook });
      await waitingAgain(id);
      if (state === 'has ended') {
        world.ollama.script = undefined;
        await client.request('POST', `/api/v1/tasks/${id}/retry`);
        expect((await client.waitForEnd(id)).status).toBe('completed');
      } else {
        await sql`update tasks set status = 'pending', completed_at = null, error = null where id = ${id}`.execute(
          world.db,
        );
      }
      await hurry(id);
      await until('the second message', () => sink.received.length === 2);
      const { type, timestamp, data } = message(1);
      expect({ type, timestamp }).toEqual({ type: 'task.failed', timestamp: completed_at });
      expect(data).toMatchObject({ status: 'failed', attempt: 1, output: null, completed_at });
      expect(data.error?.message).toContain('the first time');
      expect(message(0)).toEqual({ type, timestamp, data });
      await sql`update tasks set status = 'cancelled', completed_at = now() where status = 'pending'`.execute(world.db);
    },
  );
});
