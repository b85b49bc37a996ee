import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSecrets } from '../../src/agents/secrets.ts';
import { findAgent } from '../../src/db/agents.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import { agentCalls, HERE } from '../support/agents.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const SECRET = 'hush-hush-hush';
const box = createSecretBox(Buffer.alloc(32, 7).toString('base64'));
const { patch, make } = agentCalls;

describe('the secrets of an agent', () => {
  let world: World;
  let owner: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    owner = await world.client();
  });
  afterAll(() => world.close());

  async function secretsOf(id: string) {
    const row = await findAgent(world.db, id);
    return row && openSecrets(box, row);
  }

  it('are taken, and their names alone are shown; nothing holds them in the open', async () => {
    const config = { request: { headers: { Authorization: 'Bearer ${{ secrets.token }}' } } };
    const made = await make(owner, { config, secrets: { token: SECRET, spare: 'x' } });
    expect(made.secret_names).toEqual(['spare', 'token']);
    expect(await secretsOf(made.id)).toEqual({ token: SECRET, spare: 'x' });
    const changed = await patch(owner, made.id, { secrets: { spare: null, more: `${SECRET}2` } });
    expect(changed.body.secret_names).toEqual(['more', 'token']);
    expect(await secretsOf(made.id)).toEqual({ token: SECRET, more: `${SECRET}2` });
    const gone = await patch(owner, made.id, { secrets: { token: null } });
    expect(pointersOf(expectProblem(gone, 'validation_failed'))).toEqual(['#/config/request/headers/Authorization']);
    expect(await secretsOf(made.id)).toEqual({ token: SECRET, more: `${SECRET}2` });
    const rows = await dump(world);
    expect(rows.filter((row) => row.includes(SECRET))).toEqual([]);
    expect(rows.some((row) => row.includes('secrets.token'))).toBe(true);
    const audit = await (await world.client('admin')).request('GET', '/api/v1/audit?action=agent.update');
    expect(JSON.stringify(audit.body)).toContain('"secrets":["spare","more"]');
    expect(JSON.stringify([made, changed.body, audit.body])).not.toContain(SECRET);
    await owner.request('DELETE', `/api/v1/agents/${made.id}`);
    const left = await world.db.selectFrom('agents').selectAll().where('id', '=', made.id).executeTakeFirstOrThrow();
    expect(left).toMatchObject({ secrets: null, secret_names: [], config: {}, endpoint: null, is_active: false });
  });

  it('go to no other host than they were given for', async () => {
    const { id } = await make(owner, { secrets: { a: SECRET, b: SECRET } });
    const move = { endpoint: 'http://127.0.0.1:10' };
    for (const body of [move, { ...move, secrets: { a: 'new' } }]) {
      const problem = expectProblem(await patch(owner, id, body), 'validation_failed');
      expect(pointersOf(problem)).toEqual('secrets' in body ? ['#/secrets/b'] : ['#/secrets/a', '#/secrets/b']);
    }
    expect((await patch(owner, id, { endpoint: `${HERE}/below` })).status).toBe(200);
    const moved = await patch(owner, id, { ...move, secrets: { a: 'new', b: null } });
    expect(moved.body).toMatchObject({ endpoint: 'http://127.0.0.1:10', secret_names: ['a'] });
  });

  it('are not changed by operators, who may switch the agent off', async () => {
    const { id } = await make(owner, { secrets: { a: SECRET } });
    const operator = await world.client('operator');
    for (const body of [{ secrets: { a: 'mine' } }, { endpoint: 'http://127.0.0.1:10', secrets: { a: null } }])
      expectProblem(await patch(operator, id, body), 'forbidden');
    expect((await patch(operator, id, { is_active: false })).body).toMatchObject({ secret_names: ['a'] });
    expect(await secretsOf(id)).toEqual({ a: SECRET });
  });
});

/** Every row of the database that could hold a secret in the open, as text. */
async function dump({ db }: World): Promise<string[]> {
  const rows: string[] = [];
  for (const table of ['agents', 'audit_log', 'idempotency_keys', 'task_events'] as const)
    for (const row of await db.selectFrom(table).selectAll().execute())
      rows.push(
        JSON.stringify(row, (_, value) =>
          value?.type === 'Buffer' ? Buffer.from(value.data).toString('latin1') : value,
        ),
      );
  return rows;
}
