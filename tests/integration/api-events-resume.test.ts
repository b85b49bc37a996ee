import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startWorkerHere, type WorkerHere } from '../support/run-here.ts';
import { type EventReader, readEvents } from '../support/sse.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let client: Client;
let worker: WorkerHere;
const readers: EventReader[] = [];
beforeAll(async () => {
  world = await createWorld({ env: { WORKER_LANES: 'webhook' } });
  client = await world.client();
  worker = await startWorkerHere(world);
});
afterAll(async () => {
  for (const reader of readers) reader.close();
  await worker.close();
  await world.close();
});

interface Where {
  url?: string;
  query?: string;
  lastEventId?: string;
  token?: string;
}

async function follow(id: string, { url = world.url, query = '', lastEventId, token = client.token }: Where = {}) {
  const reader = await readEvents(`${url}/api/v1/tasks/${id}/events${query}`, {
    authorization: `Bearer ${token}`,
    ...(lastEventId ? { 'last-event-id': lastEventId } : {}),
  });
  readers.push(reader);
  return reader;
}

/** A task whose work goes on step by step, as the test says. */
async function steps(...parts: string[]) {
  const { id } = await client.submit('echo', { message: 'x' });
  let next: (() => void) | undefined;
  const work = worker.run(id, async (tools) => {
    for (const part of parts) {
      await new Promise<void>((resolve) => {
        next = resolve;
      });
      tools.emit(part);
    }
  });
  const step = async () => {
    await until('the task waits for its next step', () => next);
    next?.();
    next = undefined;
  };
  return { id, work, step };
}

const idsOf = (reader: EventReader) => reader.events.flatMap(({ id }) => id ?? []);
const saidBy = (reader: EventReader, text: string) =>
  reader.until(`the text ${text}`, () => reader.named('output').some(({ data }) => String(data.text).includes(text)));

describe('following a task again', () => {
  it('goes on after the last event that was seen, by header and by query, also on another process', async () => {
    const { id, work, step } = await steps('one', ' two');
    const first = await follow(id);
    await first.until('the start', ({ data }) => data.type === 'started');
    const seen = idsOf(first).at(-1) as string;
    first.close();
    const other = await world.join('api');
    const again = [
      await follow(id, { lastEventId: seen }),
      await follow(id, { url: other.url, query: `?after=${seen}` }),
      await follow(id, { url: other.url, query: `?after=${idsOf(first)[0]}`, lastEventId: seen }),
    ];
    await step();
    // Whoever comes in the last moment of a run gets no text of it, only the task with its output.
    for (const reader of again) await saidBy(reader, 'one');
    await step();
    await work;
    for (const reader of again) {
      expect(await reader.ended).toMatchObject({ status: 'completed' });
      expect(reader.named('status').map(({ data }) => data.type)).toEqual(['attempt_ended']);
      expect(reader.text()).toBe('one two');
    }
    const all = await follow(id);
    await all.ended;
    expect(idsOf(all)).toEqual([...idsOf(first), ...idsOf(again[0]!)]);
    expect(new Set(idsOf(all)).size).toBe(idsOf(all).length);
    await other.close();
  });

  it('goes on where the process of the API was replaced in the middle', async () => {
    const old = await world.join('api');
    const { id, work, step } = await steps('before', ' after');
    const first = await follow(id, { url: old.url });
    await step();
    await saidBy(first, 'before');
    const closing = performance.now();
    await old.close();
    expect(performance.now() - closing).toBeLessThan(3_000);
    expect(await first.ended).toBeUndefined();
    expect(first.retries.at(-1)).toBeLessThan(first.retries[0]!);
    const fresh = await world.join('api');
    const again = await follow(id, { url: fresh.url, lastEventId: idsOf(first).at(-1) });
    await saidBy(again, 'before');
    await step();
    await work;
    expect(await again.ended).toMatchObject({ status: 'completed' });
    expect(again.text()).toBe('before after');
    expect(again.named('status').map(({ data }) => data.type)).toEqual(['attempt_ended']);
    await fresh.close();
  });

  it('loses nothing when the connections break that processes hear each other on', async () => {
    const { id, work, step } = await steps('one', ' two', ' three');
    const reader = await follow(id);
    await step();
    await saidBy(reader, 'one');
    const broken = await sql<{ ok: boolean }>`select pg_terminate_backend(pid) as ok from pg_stat_activity
      where application_name = 'sutazai:notify' and datname = current_database()`.execute(world.db);
    expect(broken.rows.length).toBeGreaterThan(1);
    // Said while nobody hears, and nothing after it for a while.
    await step();
    await saidBy(reader, 'two');
    await step();
    await work;
    expect(await reader.ended).toMatchObject({ status: 'completed' });
    expect(reader.text()).toBe('one two three');
  });

  it('gives of a task that has ended what came after, then the final task, and nothing more to whoever has that', async () => {
    const { id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    const all = await follow(id);
    expect(await all.ended).toMatchObject({ id, status: 'cancelled' });
    expect(all.events.map(({ event, data }) => (event === 'status' ? data.type : event))).toEqual([
      'accepted',
      'cancel_requested',
      'completed',
    ]);
    const [accepted, , last] = idsOf(all);
    const rest = await follow(id, { query: `?after=${accepted}` });
    await rest.ended;
    expect(idsOf(rest)).toEqual(idsOf(all).slice(1));
    const final = await follow(id, { query: `?after=${last}` });
    expect(await final.ended).toMatchObject({ id, status: 'cancelled' });
    expect(idsOf(final)).toEqual([last]);
    const over = await follow(id, { lastEventId: last });
    expect(over.status).toBe(204);
    // It can go on all the same.
    await client.request('POST', `/api/v1/tasks/${id}/retry`);
    const revived = await follow(id, { lastEventId: last });
    expect(revived.status).toBe(200);
    await revived.until('the retry', () => true);
    const work = worker.run(id, async (tools) => tools.emit('again'), 1);
    expect(await revived.ended).toMatchObject({ status: 'completed', attempt: 1 });
    await work;
    expect(revived.text()).toBe('again');
    expect(revived.named('status').map(({ data }) => data.type)).toEqual(['retried', 'started', 'attempt_ended']);
  });

  it.each([
    ['?after=yesterday', {}, 422],
    ['?after=1-2', {}, 422],
    ['?since=1', {}, 422],
    ['', { 'last-event-id': 'nothing of ours' }, 400],
  ])('refuses %s %j with a problem', async (query, headers, status) => {
    const { id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    const answer = await client.request('GET', `/api/v1/tasks/${id}/events${query}`, undefined, headers);
    expect([answer.status, answer.headers.get('content-type')]).toEqual([status, 'application/problem+json']);
  });
});
