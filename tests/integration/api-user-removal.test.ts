import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { claimTasks, settleTasks } from '../../src/db/tasks/run.ts';
import { expectProblem } from '../support/problem.ts';
import { LEASE_MS, settlement } from '../support/tasks.ts';
import { until } from '../support/until.ts';
import { clientOf } from '../support/vector-store.ts';
import { ADMIN_PASSWORD, anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

const pointsOf = async (userId: string) => {
  const filter = { must: [{ key: 'tenant', match: { value: userId } }] };
  return (await clientOf(inject('qdrantUrl')).count('sutazai_vectors_3', { filter, exact: true })).count;
};
const points = [
  { id: 1, vector: [1, 0, 0] },
  { id: 2, vector: [0, 1, 0] },
];

describe('a deleted account', () => {
  let world: World;
  let admin: Client;
  beforeAll(async () => {
    world = await createWorld();
    admin = await world.client('admin');
  });
  afterAll(() => world.close());

  const remove = (client: Client, by = admin) => by.request('DELETE', `/api/v1/users/${client.userId}`);
  /** Every table with a column that names the user, and how many rows of theirs it has. */
  async function leftOf({ userId }: Client): Promise<Array<[string, number]>> {
    const { rows } = await sql<{ name: string; column: string }>`
      select table_name as name, column_name as column from information_schema.columns
      where table_schema = 'public' and column_name in ('user_id', 'owner_id', 'created_by', 'used_by')`.execute(
      world.db,
    );
    expect(rows.length).toBeGreaterThan(3);
    const counts = await Promise.all(
      rows.map(async ({ name, column }): Promise<[string, number]> => {
        const { rows: found } =
          await sql`select 1 from ${sql.table(name)} where ${sql.ref(column)} = ${userId}`.execute(world.db);
        return [`${name}.${column}`, found.length];
      }),
    );
    return counts.filter(([, count]) => count > 0);
  }

  it('leaves nothing but its entries in the audit log: no task, no session, no vector', async () => {
    const [client, bystander] = [await world.client(), await world.client()];
    for (const one of [client, bystander]) {
      await one.runTask('vector.upsert', { collection: 'raw', points });
      await one.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    }
    expect([await pointsOf(client.userId), await pointsOf(bystander.userId)]).toEqual([2, 2]);
    const today = { day: '2030-01-01', tokens: 5 };
    for (const { userId: user_id } of [client, bystander]) {
      await world.db
        .insertInto('token_usage')
        .values({ user_id, ...today })
        .execute();
      await admin.request('PATCH', `/api/v1/users/${user_id}`, { limits: { waiting_tasks: 9 } });
    }
    const kept = await leftOf(bystander);

    expect((await remove(client)).status).toBe(204);
    expect(await leftOf(client)).toEqual([]);
    expect([await pointsOf(client.userId), await pointsOf(bystander.userId)]).toEqual([0, 2]);
    expect(await leftOf(bystander)).toEqual(kept);
    expectProblem(await remove(client), 'not_found');
    const told = await world.db
      .selectFrom('audit_log')
      .selectAll()
      .where('object_id', '=', client.userId)
      .where('action', 'like', 'user.%')
      .orderBy('id')
      .execute();
    expect(told.map(({ action, actor_id }) => [action, actor_id])).toEqual([
      ['user.update', admin.userId],
      ['user.update', admin.userId],
      ['user.delete', admin.userId],
    ]);
    const again = { username: client.username, email: `${client.username}@example.com`, password: ADMIN_PASSWORD };
    expect((await world.anonymous.request('POST', '/api/v1/auth/register', again)).status).toBe(201);
  });

  it('S14: opens nothing with its tokens, here, in another process, or in one that starts later', async () => {
    const client = await world.client();
    const elsewhere = anonymousClient((await world.join('api')).url as string, client.token);
    expect((await elsewhere.request('GET', '/api/v1/tasks')).status).toBe(200);
    expect((await remove(client)).status).toBe(204);
    const refused = async (one: Client) => (await one.request('GET', '/api/v1/tasks')).status === 401;
    expect(await refused(client)).toBe(true);
    await until('the other process knows', () => refused(elsewhere), { withinMs: 1_000 });
    const later = anonymousClient((await world.join('api')).url as string, client.token);
    expect(await refused(later)).toBe(true);
  });

  it('that has a task at work is switched off, its tasks are cancelled, and it goes once they have ended', async () => {
    const client = await world.client();
    const { id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    const waiting = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    await world.db
      .updateTable('tasks')
      .set({ ready_at: new Date(0) })
      .where('id', '=', id)
      .execute();
    expect(await claimTasks(world.db, 'w', LEASE_MS, [{ id, generation: 0 }])).toMatchObject([{ id }]);

    const first = await remove(client);
    expect([first.status, first.headers.get('retry-after'), first.body]).toMatchObject([
      202,
      '2',
      { id: client.userId, is_active: false, unfinished_tasks: 1 },
    ]);
    expect((await client.request('GET', '/api/v1/tasks')).status).toBe(401);
    const statusOf = async (one: string) =>
      (await admin.request('GET', `/api/v1/tasks/${one}`)).body as { status: string; cancel_reason: string };
    expect(await statusOf(id)).toMatchObject({ status: 'cancelling', cancel_reason: 'account deleted' });
    expect(await statusOf(waiting.id)).toMatchObject({ status: 'cancelled', cancel_reason: 'account deleted' });

    await settleTasks(world.db, [settlement(id, 1)]);
    expect((await remove(client)).status).toBe(204);
    expect(await leftOf(client)).toEqual([]);
  });

  it('has its running call closed, and is gone soon after', async () => {
    const client = await world.client();
    world.ollama.script = () => new Promise(() => {});
    const called = world.ollama.nextCall('/api/chat');
    await client.submit('chat', { messages: [{ role: 'user', content: 'hi' }] });
    const call = await called;
    await until('it is gone', async () => (await remove(client)).status === 204);
    world.ollama.script = undefined;
    expect(await call.closedEarly).toBe(true);
    expect(await leftOf(client)).toEqual([]);
  });

  it('is switched off and stays while its vectors cannot be deleted', async () => {
    const client = await world.client();
    await client.runTask('vector.upsert', { collection: 'raw', points });
    const away = await world.join('api', { QDRANT_URL: 'http://127.0.0.1:1' });
    const problem = expectProblem(
      await remove(client, anonymousClient(away.url as string, admin.token)),
      'temporary-reduced-capacity',
    );
    expect(problem.detail).toContain('switched off');
    expect((await admin.request('GET', `/api/v1/users/${client.userId}`)).body).toMatchObject({ is_active: false });
    expect((await remove(client)).status).toBe(204);
    expect(await pointsOf(client.userId)).toBe(0);
  });

  it('takes more tasks along than go into one statement', async () => {
    const client = await world.client();
    const tasks = Array.from({ length: 501 }, () => ({ type: 'echo', input: { message: 'x' }, delay_seconds: 600 }));
    for (let batch = 0; batch < 2; batch++) await client.request('POST', '/api/v1/tasks/batch', { tasks });
    expect((await remove(client)).status).toBe(204);
    expect(await leftOf(client)).toEqual([]);
  });
});
