import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { agentCalls } from '../support/agents.ts';
import { expectProblem } from '../support/problem.ts';
import { type Answer, anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

const TASKS = '/api/v1/tasks';
const echo = (message: string, more = {}) => ({ type: 'echo', input: { message }, ...more });

let world: World;
let client: Client;
beforeAll(async () => {
  world = await createWorld();
  client = await world.client();
});
afterAll(() => world.close());

let made = 0;
/** A request that is sent as often as it is called, with one key. */
function request(
  path: string,
  body?: unknown,
  { by = client, ...headers }: Record<string, string> & { by?: Client } = {},
) {
  const key = `change-${++made}`;
  return (more: Record<string, string> = {}) =>
    by.request<PresentedTask>('POST', path, body, { 'idempotency-key': key, ...headers, ...more });
}
const said = ({ status, body, headers }: Answer<unknown>) => ({ status, body, location: headers.get('location') });

/** The first answer, then a change of the world, then the same request: it has to be answered the same. */
async function sameAfter(
  send: () => Promise<Answer<PresentedTask>>,
  ...changes: Array<(id: string) => Promise<unknown>>
) {
  const first = await send();
  expect(first.status, JSON.stringify(first.body)).toBe(202);
  for (const change of changes) {
    await change(first.body.id);
    const again = await send();
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(said(again)).toEqual(said(first));
  }
  return first.body;
}
const count = async () =>
  Number((await sql<{ n: string }>`select count(*) as n from tasks`.execute(world.db)).rows[0]?.n);

describe('the first answer comes again', () => {
  it('where the agent of a task is gone', async () => {
    const { body: agent } = await agentCalls.post(client, {});
    const gone = () => client.request('DELETE', `/api/v1/agents/${agent.id}`);
    const given = echo('x', { agent_id: agent.id, expires_in_seconds: 600 });
    const batch = request(`${TASKS}/batch`, { tasks: [given, echo('y')] });
    const whole = await batch();
    expect((await sameAfter(request(TASKS, given), gone)).agent_id).toBe(agent.id);
    expect(said(await batch())).toEqual(said(whole));
    expectProblem(await request(TASKS, given)(), 'validation_failed');
  });

  it('where a workflow that was named without its version has another one, or is gone', async () => {
    const steps = (id: string) => [{ id, type: 'echo', input: { message: id } }];
    await client.request('POST', '/api/v1/workflows', { name: 'w', steps: steps('a') });
    const task = await sameAfter(
      request(TASKS, { type: 'workflow', input: { workflow: 'w' } }),
      () => client.request('PATCH', '/api/v1/workflows/w', { steps: steps('b') }),
      () => client.request('DELETE', '/api/v1/workflows/w'),
    );
    expect(task.input).toMatchObject({ workflow: 'w', version: 1 });
  });

  it('where a schedule was changed, or is gone', async () => {
    const given = { every_seconds: 3_600, task: echo('of then') };
    const { body } = await client.request<{ id: string }>('POST', '/api/v1/schedules', given);
    const path = `/api/v1/schedules/${body.id}`;
    const task = await sameAfter(
      request(`${path}/run`),
      () => client.request('PATCH', path, { task: echo('of now', { title: 'now', priority: 9 }) }),
      () => client.request('DELETE', path),
    );
    expect(task).toMatchObject({ input: { message: 'of then' }, schedule_id: body.id });
  });

  it('where the collection of a document is gone, whether it came as a text or as a file', async () => {
    const path = '/api/v1/collections/passing/documents';
    await client.request('POST', '/api/v1/collections', { name: 'passing' });
    const text = request(path, { text: 'A passing word.' });
    const file = async () => {
      const body = new FormData();
      body.append('file', new Blob(['A passing page.']), 'page.txt');
      const headers = { authorization: `Bearer ${client.token}`, 'idempotency-key': 'passing-file' };
      const answer = await fetch(world.url + path, { method: 'POST', headers, body });
      return { status: answer.status, headers: answer.headers, body: (await answer.json()) as PresentedTask };
    };
    const first = await file();
    const gone = async (id: string) => {
      await Promise.all([first.body.id, id].map((one) => client.waitForEnd(one)));
      await client.request('DELETE', '/api/v1/collections/passing');
    };
    await sameAfter(text, gone);
    expect(said(await file())).toEqual(said(first));
    expectProblem(await request(path, { text: 'A passing word.' })(), 'not_found');
    expect(await world.db.selectFrom('files').select('id').execute()).toEqual([]);
  });

  it('where the task that was retried with another input runs again, or is gone', async () => {
    const origin = await client.runTask('echo', { message: 'old' });
    const path = `${TASKS}/${origin.id}`;
    const before = await count();
    await sameAfter(
      request(`${path}/retry`, { input: { message: 'new' } }),
      () =>
        sql`update tasks set status = 'running', completed_at = null, lease_until = now() + interval '1 hour'
        where id = ${origin.id}`.execute(world.db),
      () => sql`delete from tasks where id = ${origin.id}`.execute(world.db),
    );
    expect(await count()).toBe(before);
  });

  it('where the task has ended, was retried or is deleted, but not what was deleted in it', async () => {
    const send = request(TASKS, echo('secret', { expires_in_seconds: 600 }));
    const task = await sameAfter(
      send,
      (id) => client.waitForEnd(id),
      (id) => client.request('POST', `${TASKS}/${id}/retry`),
    );
    await client.waitForEnd(task.id);
    await client.request('DELETE', `${TASKS}/${task.id}`);
    const { status, body } = await send();
    expect([status, body.id, body.status, body.input]).toEqual([202, task.id, 'pending', null]);
  });

  it('of a retry, without what was deleted, and only to those who may retry still', async () => {
    const { id } = await client.runTask('echo', { message: 'secret' });
    const send = request(`${TASKS}/${id}/retry`);
    await sameAfter(
      send,
      () => client.waitForEnd(id),
      () => client.request('POST', `${TASKS}/${id}/retry`),
    );
    expect(await send({ prefer: 'wait=20' })).toMatchObject({ status: 200, body: { status: 'completed', attempt: 3 } });
    await client.request('DELETE', `${TASKS}/${id}`);
    expect(await send()).toMatchObject({ status: 202, body: { id, status: 'pending', attempt: 1, input: null } });

    const operator = await world.client('operator');
    const { body: key } = await operator.request<{ key: string }>('POST', '/api/v1/api-keys', { name: 'k' });
    const other = await client.runTask('echo', { message: 'x' });
    const steer = request(`${TASKS}/${other.id}/retry`, undefined, {
      by: anonymousClient(world.url, key.key),
    } as never);
    await sameAfter(steer, () => client.waitForEnd(other.id));
    const admin = await world.client('admin');
    await admin.request('PATCH', `/api/v1/users/${operator.userId}`, { role: 'user' });
    expectProblem(await steer(), 'not_found');
  });
});

describe('a retry with a key', () => {
  it('waits where it is asked to, the first time and again', async () => {
    const { id } = await client.runTask('echo', { message: 'x' });
    const send = request(`${TASKS}/${id}/retry`, undefined, { prefer: 'wait=20' });
    for (const replayed of [null, 'true']) {
      const { status, body, headers } = await send();
      expect([status, body.status, body.attempt]).toEqual([200, 'completed', 2]);
      expect([headers.get('preference-applied'), headers.get('idempotency-replayed')]).toEqual(['wait=20', replayed]);
    }
  });

  it('is done together with the key: where that cannot be kept, nothing is done, and the same request does it later', async () => {
    const { id } = await client.runTask('echo', { message: 'x' });
    const send = request(`${TASKS}/${id}/retry`);
    await sql`create function refuse() returns trigger language plpgsql as 'begin raise exception ''no''; end'`.execute(
      world.db,
    );
    await sql`create trigger refuse before update on idempotency_keys for each row execute function refuse()`.execute(
      world.db,
    );
    expect((await send()).status).toBe(500);
    await sql`drop trigger refuse on idempotency_keys`.execute(world.db);
    expect((await client.request<PresentedTask>('GET', `${TASKS}/${id}`)).body).toMatchObject({
      ...{ status: 'completed', attempt: 1 },
    });
    const first = await send();
    expect([first.status, first.headers.get('idempotency-replayed')]).toEqual([202, null]);
    expect(await client.waitForEnd(id)).toMatchObject({ attempt: 2 });
    expect(said(await send())).toEqual(said(first));
  });
});

it('a token for a task is the same one under the same key', async () => {
  const { id } = await client.submit('echo', { message: 'x' });
  const send = request(`${TASKS}/${id}/token`);
  const [first, again] = [await send(), await send()];
  expect([first.status, again.status, again.headers.get('idempotency-replayed')]).toEqual([201, 201, 'true']);
  expect(again.body).toEqual(first.body);
  expect((await request(`${TASKS}/${id}/token`)()).headers.get('idempotency-replayed')).toBeNull();
});
