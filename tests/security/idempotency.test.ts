import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { API_KEYS, makeKey, type ShownKey } from '../support/api-keys.ts';
import { expectProblem } from '../support/problem.ts';
import { anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

type Submitted = PresentedTask & { webhook_secret?: string };
const TASKS = '/api/v1/tasks';
const echo = (message = 'hi', more = {}) => ({ type: 'echo', input: { message }, ...more });

let world: World;
let ann: Client;
let bob: Client;
beforeAll(async () => {
  world = await createWorld({ mode: 'api' });
  [ann, bob] = [await world.client(), await world.client()];
});
afterAll(() => world.close());

const post = (by: Client, path: string, body: unknown, key: string) =>
  by.request<Submitted>('POST', path, body, { 'idempotency-key': key });

it('S28: the same key of another user is another key, for the same and for another request', async () => {
  const webhook = { url: 'https://example.com/hook' };
  const hers = await post(ann, TASKS, echo('hers', { webhook }), 'shared');
  const same = await post(bob, TASKS, echo('hers', { webhook }), 'shared');
  expect([same.status, same.headers.get('idempotency-replayed'), same.body.user_id]).toEqual([202, null, bob.userId]);
  expect(same.body.id).not.toBe(hers.body.id);
  expect(same.body.webhook_secret).not.toBe(hers.body.webhook_secret);
  const admin = await world.client('admin');
  expect((await post(admin, TASKS, echo('another'), 'shared')).status).toBe(202);
  expect((await post(ann, TASKS, echo('hers', { webhook }), 'shared')).body).toEqual(hers.body);
});

it('S28: the same key of another API key of the same user is another key, so that a small one learns nothing of a large one', async () => {
  const small = anonymousClient(world.url, (await makeKey(ann, { scopes: ['self:read', 'self:write'] })).key);
  const asked = { name: 'large', scopes: ['*'] };
  const first = await ann.request<ShownKey>('POST', API_KEYS, asked, { 'idempotency-key': 'made' });
  const again = await ann.request<ShownKey>('POST', API_KEYS, asked, { 'idempotency-key': 'made' });
  expect([first.status, again.status, again.body]).toEqual([201, 201, first.body]);
  expect(again.headers.get('idempotency-replayed')).toBe('true');
  const other = await small.request('POST', API_KEYS, asked, { 'idempotency-key': 'made' });
  expect(other.status).not.toBe(201);
  expect(JSON.stringify(other.body)).not.toContain('sk_');
  const [one, two] = [await makeKey(ann), await makeKey(ann)];
  const ids = [];
  for (const { key } of [one, two, one])
    ids.push((await post(anonymousClient(world.url, key), TASKS, echo('by a key'), 'same')).body.id);
  expect(ids[2]).toBe(ids[0]);
  expect(ids[1]).not.toBe(ids[0]);
});

it('S27: a key opens no way to the task of somebody else', async () => {
  const { body } = await post(ann, TASKS, echo(), 'taken');
  await ann.request('POST', `${TASKS}/${body.id}/cancel`);
  await post(ann, `${TASKS}/${body.id}/retry`, undefined, 'retried');
  const unknown = '01980000-0000-7000-8000-000000000000';
  for (const key of ['taken', 'retried', 'new'])
    for (const id of [body.id, unknown])
      expectProblem(await post(bob, `${TASKS}/${id}/retry`, undefined, key), 'not_found');
  // A refusal leaves no trace that a later request could meet.
  const { rows } = await sql`select 1 from idempotency_keys where user_id = ${bob.userId} and key <> 'shared'`.execute(
    world.db,
  );
  expect(rows).toEqual([]);
});

it('keeps no body, no answer and no secret in clear', async () => {
  const given = `whsec_${Buffer.alloc(24, 5).toString('base64')}`;
  const asked = echo('very private', { webhook: { url: 'https://example.com/', secret: given } });
  const { body: first } = await post(
    ann,
    TASKS,
    echo('very private', { webhook: { url: 'https://example.com/' } }),
    'a',
  );
  const { body: second } = await post(ann, TASKS, asked, 'b');
  await ann.request('POST', `${TASKS}/${first.id}/cancel`);
  expect((await post(ann, `${TASKS}/${first.id}/retry`, undefined, 'c')).status).toBe(202);
  const { rows } = await sql<{ fingerprint: Buffer; answer: Buffer }>`
    select fingerprint, answer from idempotency_keys where key in ('a', 'b', 'c')`.execute(world.db);
  expect(rows).toHaveLength(3);
  const stored = rows
    .map(({ fingerprint, answer }) => fingerprint.toString('latin1') + answer.toString('latin1'))
    .join();
  for (const secret of [first.webhook_secret?.slice(6), given.slice(6), 'private', first.id, second.id])
    expect(stored).not.toContain(secret);
});

it('does not lend the standing of the first request to a later one', async () => {
  const { body } = await post(ann, TASKS, echo('x'), 'revoked');
  const session = await ann.request<{ id: string }>('POST', '/api/v1/auth/logout');
  expect(session.status).toBe(204);
  expectProblem(await post(ann, TASKS, echo('x'), 'revoked'), 'invalid_token');
  await world.db.updateTable('users').set({ role: 'viewer' }).where('id', '=', ann.userId).execute();
  const login = { username: ann.username, password: 'correct horse battery' };
  const { body: tokens } = await world.anonymous.request<{ access_token: string }>('POST', '/api/v1/auth/login', login);
  const again = await world.anonymous.request('POST', TASKS, echo('x'), {
    authorization: `Bearer ${tokens.access_token}`,
    'idempotency-key': 'revoked',
  });
  expectProblem(again, 'forbidden');
  expect(JSON.stringify(again.body)).not.toContain(body.id);
});
