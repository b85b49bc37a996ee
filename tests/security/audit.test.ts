import { Writable } from 'node:stream';
import { sql } from 'kysely';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAudit } from '../../src/api/audit.ts';
import type { AuditRow } from '../../src/db/audit.ts';
import { createDb, createPool } from '../../src/db/connect.ts';
import { createLog } from '../../src/log.ts';
import { expectProblem } from '../support/problem.ts';
import { until } from '../support/until.ts';
import { ADMIN_PASSWORD, type Client, createWorld, type World } from '../support/world.ts';

type Page = { data: AuditRow[]; next_cursor: string | null };

describe('the audit log', () => {
  let world: World;
  let admin: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    admin = await world.client('admin');
  });
  afterAll(() => world.close());

  const list = async (query: string) => (await admin.request<Page>('GET', `/api/v1/audit?${query}`)).body;
  const found = (query: string) => until(`an entry for ${query}`, async () => (await list(query)).data[0]);
  const post = (path: string, body?: unknown, headers?: Record<string, string>) =>
    world.anonymous.request('POST', `/api/v1${path}`, body, headers);

  it('tells of a new account and of a login: who, from where, and with which request id', async () => {
    const account = { username: 'newcomer', email: 'newcomer@example.com', password: ADMIN_PASSWORD };
    const { body } = await post('/auth/register', account, { 'x-request-id': 'request-of-register' });
    const who = { actor_id: body.id, actor_name: 'newcomer', outcome: 'ok', address: '127.0.0.1' };
    expect(await found(`actor_id=${body.id}&action=auth.register`)).toMatchObject({
      ...who,
      object_type: 'user',
      object_id: body.id,
      request_id: 'request-of-register',
    });
    await post('/auth/login', { username: 'newcomer', password: ADMIN_PASSWORD });
    expect(await found(`actor_id=${body.id}&action=auth.login`)).toMatchObject({ ...who, object_type: 'session' });
  });

  it('tells of logins that failed and why, without what was typed as the name', async () => {
    const { userId, username } = await world.client();
    await post('/auth/login', { username, password: 'not the password' });
    const wrong = await found(`action=auth.login&object_id=${userId}`);
    expect(wrong).toMatchObject({ outcome: 'refused', actor_id: null, details: { reason: 'wrong_password' } });
    await world.db.updateTable('users').set({ is_active: false }).where('id', '=', userId).execute();
    await post('/auth/login', { username, password: ADMIN_PASSWORD });
    await until('the second entry', async () => (await list(`object_id=${userId}`)).data.length === 2);
    expect((await list(`object_id=${userId}`)).data[0]).toMatchObject({ details: { reason: 'account_off' } });
    await post('/auth/login', { username: 'my secret password', password: 'x' }, { 'x-request-id': 'typed-wrong' });
    const unknown = await until('the third', async () =>
      (await list('action=auth.login&outcome=refused')).data.find((row) => row.request_id === 'typed-wrong'),
    );
    expect(unknown).toMatchObject({ object_id: null, details: { reason: 'unknown_user' } });
    const { rows } = await sql`select 1 from audit_log a where a::text like '%secret password%'`.execute(world.db);
    expect(rows).toEqual([]);
  });

  it('S11: tells of a refresh token that was used twice', async () => {
    const { username } = await world.client();
    const login = await post('/auth/login', { username, password: ADMIN_PASSWORD });
    const first = { refresh_token: login.body.refresh_token };
    const second = await post('/auth/refresh', first);
    await post('/auth/refresh', { refresh_token: second.body.refresh_token });
    expectProblem(await post('/auth/refresh', first), 'invalid_token');
    const sid = JSON.parse(
      Buffer.from(String(login.body.access_token).split('.')[1] ?? '', 'base64url').toString(),
    ).sid;
    const entry = await found('action=auth.refresh_reused');
    expect(entry).toMatchObject({ outcome: 'refused', object_type: 'session', object_id: sid });
  });

  it('tells of the first administrator, whom nobody made, and of a user who wanted into the dashboard', async () => {
    const first = await world.db
      .selectFrom('users')
      .selectAll()
      .where('username', '=', 'admin')
      .executeTakeFirstOrThrow();
    const made = await found(`object_id=${first.id}&action=auth.register`);
    expect(made).toMatchObject({ actor_id: null, actor_name: 'system', details: { role: 'admin' } });
    const { userId, username } = await world.client();
    const answer = await fetch(`${world.url}/admin/login`, {
      method: 'POST',
      headers: { origin: world.url },
      body: new URLSearchParams({ login: username, password: ADMIN_PASSWORD }),
    });
    expect(answer.status).toBe(403);
    const refused = await found(`object_id=${userId}&outcome=refused`);
    expect(refused).toMatchObject({ action: 'auth.login', details: { reason: 'role', for: 'dashboard' } });
  });

  it('tells of a logout and of what an account was not allowed to do', async () => {
    const viewer = await world.client('viewer');
    expectProblem(await viewer.request('POST', '/api/v1/tasks', {}), 'forbidden');
    expect(await found(`actor_id=${viewer.userId}&outcome=refused`)).toMatchObject({
      action: 'auth.forbidden',
      object_id: 'POST /api/v1/tasks',
      details: { permission: 'tasks:create' },
    });
    await viewer.request('POST', '/api/v1/auth/logout');
    expect(await found(`actor_id=${viewer.userId}&action=auth.logout`)).toMatchObject({ outcome: 'ok' });
  });

  it('tells of steering the tasks of others, and not of steering own ones', async () => {
    const [owner, operator] = [await world.client(), await world.client('operator')];
    const { id } = await owner.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    await owner.request('POST', `/api/v1/tasks/${id}/cancel`);
    await operator.request('POST', `/api/v1/tasks/${id}/retry`);
    await operator.request('POST', `/api/v1/tasks/${id}/cancel`);
    const { data } = await list(`object_id=${id}`);
    expect(data.map(({ action, actor_name, details }) => [action, actor_name, details])).toEqual([
      ['task.cancel', operator.username, { owner: owner.userId }],
      ['task.retry', operator.username, { owner: owner.userId }],
    ]);
  });

  it('is read by pages, newest first, each entry once', async () => {
    const seen: AuditRow[] = [];
    let cursor = '';
    for (let page = 0; page < 50; page++) {
      const { data, next_cursor } = await list(`limit=3${cursor && `&cursor=${cursor}`}`);
      seen.push(...data);
      if (!next_cursor) break;
      cursor = next_cursor;
    }
    const ids = seen.map(({ id }) => id);
    expect(ids.length).toBeGreaterThan(6);
    expect(ids).toEqual([...new Set(ids)].sort().reverse());
    const middle = seen[3]?.at as unknown as string;
    const [later, earlier] = [await list(`after=${middle}&limit=200`), await list(`before=${middle}&limit=200`)];
    expect(later.data.every(({ at }) => String(at) >= middle)).toBe(true);
    expect(earlier.data.every(({ at }) => String(at) < middle)).toBe(true);
    expect(earlier.data.length).toBeGreaterThan(0);
  });

  it.each(['user', 'operator'] as const)('S22: is not shown to an account of role %s', async (role) => {
    expectProblem(await (await world.client(role)).request('GET', '/api/v1/audit'), 'forbidden');
  });

  it.each(['action=nothing', 'outcome=maybe', 'actor_id=x', 'limit=0', 'before=now', 'user=x'])(
    'refuses to be asked for %s',
    async (query) => {
      expectProblem(await admin.request('GET', `/api/v1/audit?${query}`), 'validation_failed');
    },
  );

  it.each(['update audit_log set actor_name = null', 'delete from audit_log', 'truncate audit_log'])(
    'refuses: %s',
    async (statement) => {
      await expect(sql.raw(statement).execute(world.db)).rejects.toMatchObject({ code: '42501' });
    },
  );

  it('stands or falls with the change that it tells of', async () => {
    const [owner, operator] = [await world.client(), await world.client('operator')];
    const { id } = await owner.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    await sql`alter table audit_log rename to audit_log_away`.execute(world.db);
    const sessions = async () => (await world.db.selectFrom('user_sessions').select('id').execute()).length;
    const before = await sessions();
    const login = await post('/auth/login', { username: owner.username, password: ADMIN_PASSWORD });
    const cancel = await operator.request('POST', `/api/v1/tasks/${id}/cancel`);
    await sql`alter table audit_log_away rename to audit_log`.execute(world.db);
    expectProblem(login, 'internal_error');
    expectProblem(cancel, 'internal_error');
    expect(await sessions()).toBe(before);
    expect((await owner.request('GET', `/api/v1/tasks/${id}`)).body).toMatchObject({ status: 'scheduled' });
  });
});

it('an entry that cannot be stored is written to the log of the process, whole', async () => {
  const lines: Array<Record<string, unknown>> = [];
  const stream = new Writable({
    write(line, _, done) {
      lines.push(JSON.parse(String(line)));
      done();
    },
  });
  const nowhere = { url: 'postgres://nobody@127.0.0.1:1/nothing', max: 1, name: 'test', log: createLog('silent') };
  const db = createDb(createPool(nowhere));
  const audit = createAudit({ db, log: pino(stream) });
  const trail = audit.trail({ actor: undefined, address: '127.0.0.1', requestId: 'lost-request' });
  trail.record({ action: 'auth.login', outcome: 'refused', details: { reason: 'wrong_password' } });
  await audit.close();
  await db.destroy();
  expect(lines).toEqual([
    expect.objectContaining({
      level: 50,
      audit: expect.objectContaining({ action: 'auth.login', request_id: 'lost-request', address: '127.0.0.1' }),
    }),
  ]);
});
