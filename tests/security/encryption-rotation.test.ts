import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openSecrets } from '../../src/agents/secrets.ts';
import { newId } from '../../src/db/ids.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import { agentCalls } from '../support/agents.ts';
import { expectProblem } from '../support/problem.ts';
import { spawnSutazai } from '../support/process.ts';
import { until } from '../support/until.ts';
import {
  ADMIN_PASSWORD,
  anonymousClient,
  type Client,
  callbacksOf,
  createWorld,
  type World,
} from '../support/world.ts';

const keyOf = (byte: number) => Buffer.alloc(32, byte).toString('base64');
const [OLD, NEW] = [keyOf(7), keyOf(21)];
const HOOK = { url: 'http://127.0.0.1:9/hook', events: ['task.completed', 'task.cancelled'] };
const LATER = new Date(Date.now() + 3_600_000).toISOString();

describe('ENCRYPTION_KEY', () => {
  const [old, next] = [createSecretBox(OLD), createSecretBox(NEW)];
  let world: World;
  let client: Client;
  let nextClient: Client;
  beforeEach(async () => {
    world = await createWorld({ mode: 'api', env: { ENCRYPTION_KEY: OLD, ENCRYPTION_KEY_PREVIOUS: NEW } });
    client = await world.client();
    const joined = await world.join('api', { ENCRYPTION_KEY: NEW, ENCRYPTION_KEY_PREVIOUS: OLD });
    nextClient = anonymousClient(joined.url as string, client.token);
  });
  afterEach(() => world.close());

  async function rotate(env: Record<string, string> = {}) {
    const keys = { ENCRYPTION_KEY: NEW, ENCRYPTION_KEY_PREVIOUS: OLD };
    const sutazai = spawnSutazai(['secrets', 'rotate', 'encryption'], { ...world.env, ...keys, ...env });
    return { code: await sutazai.ended, output: sutazai.output() };
  }

  /** Every column of bytes, and the secrets in webhooks of tasks: how many begin with the mark of this key, by their place. */
  async function sealedWith(mark: Buffer): Promise<Record<string, number>> {
    const { rows } = await sql<{ table: string; column: string }>`
      select table_name as table, column_name as column from information_schema.columns
      where table_schema = 'public' and data_type = 'bytea'`.execute(world.db);
    const found: Record<string, number> = {};
    const count = async (name: string, table: string, value: string) => {
      const { rows: counted } = await sql<{ count: number }>`
        select count(*)::int as count from ${sql.table(table)} where position(${mark}::bytea in ${sql.raw(value)}) = 1`.execute(
        world.db,
      );
      if (counted[0]?.count) found[name] = counted[0].count;
    };
    for (const { table, column } of rows) await count(`${table}.${column}`, table, `"${column}"`);
    await count('tasks.webhook', 'tasks', `decode(webhook ->> 'secret', 'base64')`);
    return found;
  }

  /** One of everything that is sealed, made by this process. */
  async function fill(by: Client) {
    const post = async (path: string, body?: object, headers?: Record<string, string>) => {
      const answer = await by.request('POST', path, body, headers);
      expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
      return answer.body as { id: string };
    };
    const task = { type: 'echo', input: { message: 'x' }, webhook: HOOK };
    const agent = await agentCalls.make(by, { secrets: { token: 'hush' } });
    await post('/api/v1/schedules', { cron: '0 0 1 1 *', task });
    const { id } = await post('/api/v1/webhooks', HOOK);
    await post(`/api/v1/webhooks/${id}/rotate-secret`);
    await post('/api/v1/tasks', { ...task, scheduled_for: LATER });
    const cancelled = await post('/api/v1/tasks', { ...task, scheduled_for: LATER }, { 'idempotency-key': newId() });
    await post(`/api/v1/tasks/${cancelled.id}/cancel`);
    return agent.id;
  }

  const EVERYTHING = {
    'agents.secrets': 1,
    'schedules.webhook_secret': 1,
    'webhook_endpoints.secret': 1,
    'webhook_endpoints.previous_secret': 1,
    'tasks.webhook': 2,
    'deliveries.secret': 1,
    'idempotency_keys.answer': 1,
  };

  it('is changed while everything runs: what is stored is sealed anew, and the key before can go', async () => {
    const agent = await fill(client);
    expect(await sealedWith(old.mark)).toEqual({ ...EVERYTHING, 'signing_keys.secret': 1 });
    // As it was sealed before keys had names.
    await sql`update webhook_endpoints set secret = substring(secret from 9)`.execute(world.db);
    await fill(nextClient);
    expect(await sealedWith(next.mark)).toEqual(EVERYTHING);

    const { code, output } = await rotate();
    expect([code, output]).toEqual([
      0,
      expect.stringMatching(new RegExp(`^9 secrets were sealed with the key ${next.mark.toString('hex')}; .* 7 days`)),
    ]);
    expect(await sealedWith(old.mark)).toEqual({});
    const twice = Object.fromEntries(Object.entries(EVERYTHING).map(([place, count]) => [place, 2 * count]));
    expect(await sealedWith(next.mark)).toEqual({ ...twice, 'signing_keys.secret': 1 });
    const row = await world.db.selectFrom('agents').selectAll().where('id', '=', agent).executeTakeFirstOrThrow();
    expect(openSecrets(next, row)).toEqual({ token: 'hush' });
    const endpoints = await world.db.selectFrom('webhook_endpoints').selectAll().execute();
    for (const { secret, previous_secret } of endpoints)
      for (const one of [secret, previous_secret]) expect(next.open(one as Buffer)).toMatch(/^whsec_/);
    expect((await rotate()).output).toMatch(/^0 secrets were sealed/);

    const alone = await world.join('api', { ENCRYPTION_KEY: NEW, ENCRYPTION_KEY_PREVIOUS: '' });
    expect((await anonymousClient(alone.url as string, client.token).request('GET', '/api/v1/agents')).status).toBe(
      200,
    );
  });

  it('knows by both keys what was given out: refresh tokens, answers of requests, addresses to call back at', async () => {
    const login = { username: client.username, password: ADMIN_PASSWORD };
    const { body } = await client.request('POST', '/api/v1/auth/login', login);
    let { refresh_token } = body;
    for (const one of [nextClient, client, nextClient]) {
      const refreshed = await one.request('POST', '/api/v1/auth/refresh', { refresh_token });
      expect(refreshed.status).toBe(200);
      refresh_token = refreshed.body.refresh_token;
    }
    const task = { type: 'echo', input: { message: 'x' } };
    for (const [one, other] of [
      [client, nextClient],
      [nextClient, client],
    ] as const) {
      const key = { 'idempotency-key': newId() };
      const first = await one.request('POST', '/api/v1/tasks', task, key);
      const again = await other.request('POST', '/api/v1/tasks', task, key);
      expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([202, 'true']);
      expect(again.body.id).toBe(first.body.id);
      const else_ = { ...task, input: { message: 'y' } };
      expectProblem(await other.request('POST', '/api/v1/tasks', else_, key), 'idempotency_key_reused');
    }
    const token = callbacksOf(world).tokenOf({ taskId: newId(), life: 0, name: 'x' });
    for (const one of [client, nextClient])
      expectProblem(await one.request('POST', `/api/v1/callbacks/${token}`, {}), 'callback_over');
  });

  it('is not taken for changed where a key is missing, a process seals with the one before, or a row is not free', async () => {
    const agent = await fill(client);
    const foreign = await rotate({ ENCRYPTION_KEY_PREVIOUS: '' });
    expect([foreign.code, foreign.output]).toEqual([1, expect.stringContaining('1 in signing_keys, 1 in agents')]);
    expect(await sealedWith(old.mark)).toEqual({ ...EVERYTHING, 'signing_keys.secret': 1 });

    // As if a process that has the old key sealed it again each time.
    await sql`create function seal_again() returns trigger language plpgsql as $$ begin new.secrets := old.secrets; return new; end $$`.execute(
      world.db,
    );
    await sql`create trigger seal_again before update of secrets on agents for each row execute function seal_again()`.execute(
      world.db,
    );
    const early = await rotate();
    await sql`drop function seal_again cascade`.execute(world.db);
    expect([early.code, early.output]).toEqual([1, expect.stringContaining('Some process still has that one')]);

    await world.db
      .transaction()
      .execute(async (trx) => {
        await trx.updateTable('agents').set({ description: 'held' }).where('id', '=', agent).execute();
        const held = rotate();
        await until('the rest is sealed anew', async () => Object.keys(await sealedWith(old.mark)).length === 1);
        await trx.updateTable('agents').set({ description: 'free' }).where('id', '=', agent).execute();
        return { held };
      })
      .then(async ({ held }) => expect((await held).code).toBe(0));
    expect(await sealedWith(old.mark)).toEqual({});
  });
});
