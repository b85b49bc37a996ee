import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { until } from '../support/until.ts';
import { type Answer, BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

type Submitted = PresentedTask & { webhook_secret?: string };
type Batch = { batch_id: string; tasks: Submitted[] };
const TASKS = '/api/v1/tasks';
const BATCH = `${TASKS}/batch`;
const echo = (message = 'hi', more = {}) => ({ type: 'echo', input: { message }, ...more });
const webhook = { url: 'https://example.com/hook' };

let made = 0;
const newKey = () => `key-${++made}`;
const replay = (answer: Answer<unknown>) => answer.headers.get('idempotency-replayed');

/** The headers of an answer that say something of what was asked for. */
const said = ({ headers }: Answer<unknown>) =>
  ['location', 'retry-after', 'content-type', 'preference-applied'].map((name) => headers.get(name));

describe.each(BACKENDS)('a request that is sent again with its key, on %s', (backend) => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ backend });
    client = await world.client();
  });
  afterAll(() => world.close());

  const post = <T = Submitted>(path: string, body: unknown, key: string, headers = {}) =>
    client.request<T>('POST', path, body, { 'idempotency-key': key, ...headers });
  const tasksOf = async (title: string) =>
    world.db.selectFrom('tasks').select(['id', 'attempt']).where('title', '=', title).execute();

  it('gets the first answer again and runs once, also after the task has ended', async () => {
    const key = newKey();
    const body = echo('once', { title: key, webhook, metadata: { a: 1 }, tags: ['x'], expires_in_seconds: 600 });
    const first = await post(TASKS, body, key);
    expect([first.status, replay(first), first.body.status]).toEqual([202, null, 'pending']);
    expect((await client.waitForEnd(first.body.id)).status).toBe('completed');
    const second = await post(TASKS, body, key);
    expect([second.status, replay(second)]).toEqual([202, 'true']);
    expect(second.body).toEqual(first.body);
    expect(second.body.webhook_secret).toMatch(/^whsec_/);
    expect(said(second)).toEqual(said(first));
    expect(await tasksOf(key)).toEqual([{ id: first.body.id, attempt: 1 }]);
  });

  it('waits with Prefer: wait, first and again, and has the result', async () => {
    const key = newKey();
    const wait = { prefer: 'wait=20' };
    const first = await post(TASKS, echo(key), key, wait);
    const second = await post(TASKS, echo(key), key, wait);
    expect([first.status, second.status, replay(second)]).toEqual([200, 200, 'true']);
    expect(second.body).toEqual(first.body);
    expect(second.body.output).toEqual({ message: key });
    expect(said(second)).toEqual(said(first));
    // The preference is no part of what is asked for.
    expect((await post(TASKS, echo(key), key)).body).toMatchObject({ id: first.body.id, status: 'pending' });
  });

  it('waits for the end of a task that was submitted without waiting', async () => {
    const key = newKey();
    const body = echo(key, { delay_seconds: 0.5 });
    const first = await post(TASKS, body, key);
    const second = await post(TASKS, body, key, { prefer: 'wait=20' });
    expect([first.status, first.body.status]).toEqual([202, 'scheduled']);
    expect(second).toMatchObject({ status: 200, body: { id: first.body.id, status: 'completed' } });
  });

  it('stores a batch once, with the same ids, batch and secrets', async () => {
    const key = newKey();
    const body = { tasks: [echo('a', { webhook, title: key }), echo('b'), echo('c', { webhook, delay_seconds: 60 })] };
    const first = await post<Batch>(BATCH, body, key);
    const second = await post<Batch>(BATCH, body, key);
    expect([first.status, second.status, replay(first), replay(second)]).toEqual([202, 202, null, 'true']);
    expect(second.body).toEqual(first.body);
    expect(second.body.tasks[2]?.webhook_secret).toMatch(/^whsec_/);
    expect(said(second)).toEqual(said(first));
    const stored = await world.db
      .selectFrom('tasks')
      .select('id')
      .where('batch_id', '=', first.body.batch_id)
      .execute();
    expect(stored).toHaveLength(3);
  });

  it('stores one task where 50 come at once, and all get its id', async () => {
    const key = newKey();
    const answers = await Promise.all(Array.from({ length: 50 }, () => post(TASKS, echo('x', { title: key }), key)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
    expect(answers.filter((answer) => replay(answer) === null)).toHaveLength(1);
    expect(await tasksOf(key)).toHaveLength(1);
  });

  it('retries a task once', async () => {
    const key = newKey();
    const { id } = await client.runTask('echo', { message: 'x' });
    const first = await post(`${TASKS}/${id}/retry`, undefined, key);
    await client.waitForEnd(id);
    const second = await post(`${TASKS}/${id}/retry`, {}, key);
    expect([first.status, second.status, replay(first), replay(second)]).toEqual([202, 202, null, 'true']);
    expect(second.body).toEqual(first.body);
    expect(said(second)).toEqual(said(first));
    expect(await client.waitForEnd(id)).toMatchObject({ attempt: 2 });
    expect((await post(`${TASKS}/${id}/retry`, undefined, newKey())).status).toBe(202);
    expect(await client.waitForEnd(id)).toMatchObject({ attempt: 3 });
  });

  it('is free again a day later, and its row is removed by the reconciler', async () => {
    const [key, other] = [newKey(), newKey()];
    const [first] = [await post(TASKS, echo(), key), await post(TASKS, echo(), other)];
    await sql`update idempotency_keys set expires_at = now() where key in (${key}, ${other})`.execute(world.db);
    const later = await post(TASKS, echo(), key);
    expect([later.status, replay(later)]).toEqual([202, null]);
    expect(later.body.id).not.toBe(first?.body.id);
    await until('the expired key is gone', async () => {
      const rows = await world.db.selectFrom('idempotency_keys').select('key').where('key', '=', other).execute();
      return rows.length === 0;
    });
    expect((await post(TASKS, echo(), key)).body.id).toBe(later.body.id);
  });
});
