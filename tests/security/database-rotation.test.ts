import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { sql } from 'kysely';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import type { DatabaseAddress } from '../../src/db/address.ts';
import { createPool } from '../../src/db/connect.ts';
import { openNotifications } from '../../src/db/notify.ts';
import { createLog } from '../../src/log.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import { type Sutazai, spawnSutazai } from '../support/process.ts';
import { until } from '../support/until.ts';
import { ADMIN_PASSWORD, anonymousClient, createWorld, type World } from '../support/world.ts';

const OLD = 'the old password of this test';

describe('the password of the database', () => {
  const log = createLog('silent');
  let world: World;
  let role: string;
  let folder: string;
  let file: string;
  let env: Record<string, string>;
  let processes: Sutazai[];
  beforeEach(async () => {
    world = await createWorld({ mode: 'api' });
    processes = [];
    role = `r_${randomBytes(6).toString('hex')}`;
    folder = mkdtempSync(join(tmpdir(), 'sutazai-rotation-'));
    file = join(folder, 'password');
    writeFileSync(file, OLD);
    await sql.raw(`create role ${role} login password '${OLD}'`).execute(world.db);
    for (const schema of ['public', 'bullmq'])
      await sql
        .raw(
          `grant all on schema ${schema} to ${role}; grant all on all tables in schema ${schema} to ${role};
           grant all on all sequences in schema ${schema} to ${role}`,
        )
        .execute(world.db);
    const { hostname, port, pathname } = new URL(world.databaseUrl);
    env = {
      ...world.env,
      DATABASE_URL: '',
      POSTGRES_HOST: hostname,
      POSTGRES_PORT: port,
      POSTGRES_DB: pathname.slice(1),
      POSTGRES_USER: role,
      POSTGRES_PASSWORD_FILE: file,
    };
  });
  afterEach(async () => {
    for (const { kill } of processes) await kill('SIGTERM');
    await sql.raw(`drop owned by ${role}; drop role ${role}`).execute(world.db);
    await world.close();
    rmSync(folder, { recursive: true });
  });

  const urlWith = (password: string) =>
    Object.assign(new URL(world.databaseUrl), { username: role, password: encodeURIComponent(password) }).href;
  async function logIn(password: string): Promise<string> {
    const client = new pg.Client({ connectionString: urlWith(password) });
    try {
      await client.connect();
      return 'taken';
    } catch (error) {
      return (error as { code: string }).code;
    } finally {
      await client.end();
    }
  }
  const setPassword = (password: string) => sql.raw(`alter role ${role} password '${password}'`).execute(world.db);
  async function rotate(more: Record<string, string> = {}) {
    const sutazai = spawnSutazai(['secrets', 'rotate', 'database'], { ...env, ...more });
    return { code: await sutazai.ended, output: sutazai.output() };
  }
  async function startProcess(mode: 'api' | 'worker') {
    const sutazai = spawnSutazai([mode], env);
    processes.push(sutazai);
    await until(`the ${mode} is up`, () => sutazai.output().includes(' is up'), { withinMs: 60_000 });
    return /http:\S+/.exec(sutazai.output())?.[0] as string;
  }
  /** Ends every idle connection of the role, so that the next statement opens another. */
  async function endConnections(): Promise<number> {
    const { rows } = await sql<{ pid: number }>`select pid, pg_terminate_backend(pid) from pg_stat_activity
      where usename = ${role} and state = 'idle' and application_name <> 'sutazai:secrets'`.execute(world.db);
    const pids = rows.map(({ pid }) => pid);
    await until('they are gone', async () => {
      const left = await sql`select from pg_stat_activity where pid = any(${pids}::int[])`.execute(world.db);
      return left.rows.length === 0;
    });
    return pids.length;
  }

  it('is rotated twice in running processes under load, together with the token key, without a failed request', async () => {
    const urls = await Promise.all([startProcess('api'), startProcess('api'), startProcess('worker')]);
    const login = { username: 'admin', password: ADMIN_PASSWORD };
    const { body } = await anonymousClient(urls[0] as string).request('POST', '/api/v1/auth/login', login);
    const clients = urls.slice(0, 2).map((url) => anonymousClient(url, body.access_token as string));

    const failed: unknown[] = [];
    const ids: string[] = [];
    let [going, rounds, ended] = [true, 0, 0];
    const traffic = (async () => {
      for (; going; rounds++) {
        const answers = await Promise.all(
          clients.flatMap((client) => [
            client.request('POST', '/api/v1/tasks', { type: 'echo', input: { message: 'x' } }),
            client.request('GET', '/api/v1/tasks'),
            client.request('GET', '/api/v1/auth/me'),
          ]),
        );
        for (const { status, body } of answers) {
          if (status >= 300) failed.push([status, body.code]);
          if (status === 202) ids.push(body.id as string);
        }
        ended += await endConnections();
        await pause(20);
      }
    })();

    const passwords = [OLD];
    for (let turn = 0; turn < 2; turn++) {
      const seen = rounds;
      await until('there is traffic', () => rounds > seen + 3);
      const { code, output } = await rotate();
      expect([code, output]).toEqual([0, expect.stringContaining(`${role} has a new password`)]);
      passwords.push(readFileSync(file, 'utf8'));
      expect(output).not.toContain(passwords.at(-1));
    }
    const jwt = spawnSutazai(['secrets', 'rotate', 'jwt', '--random'], env);
    expect([await jwt.ended, jwt.output()]).toEqual([0, expect.stringContaining('signs access tokens')]);
    const seen = rounds;
    await until('there was traffic since', () => rounds > seen + 3);
    going = false;
    await traffic;

    expect(failed).toEqual([]);
    expect(ended).toBeGreaterThan(rounds);
    expect(await Promise.all(passwords.map(logIn))).toEqual(['28P01', '28P01', 'taken']);
    await until('every task has ended well', async () => {
      const { rows } = await sql<{ left: string }>`select count(*) as left from tasks
        where id = any(${ids}::uuid[]) and status <> 'completed'`.execute(world.db);
      return Number(rows[0]?.left) === 0;
    });
  });

  it('may be in the database a moment before it is in its file, for everything that opens connections', async () => {
    const { address } = loadConfig(env).database;
    await setPassword('a new one');
    const pool = createPool({ url: address as DatabaseAddress, max: 2, name: 'test', log });
    const opened = Promise.all([
      pool.query('select 1'),
      pool.connect().then((client) => client.release()),
      openNotifications(address as DatabaseAddress, ['news'], log).then(({ close }) => close()),
      openQueueBackend({
        ...{ kind: 'postgres', redisUrl: undefined, prefix: 'x', workers: 0, log },
        databaseUrl: address as DatabaseAddress,
      } as const).then(({ close }) => close()),
    ]).then(() => 'opened');
    try {
      expect(await Promise.race([opened, pause(400, 'waiting')])).toBe('waiting');
      writeFileSync(file, 'a new one');
      expect(await opened).toBe('opened');
    } finally {
      await opened.catch(() => {});
      await pool.end();
    }
  });

  it('is refused after some seconds where it is wrong', async () => {
    const { address } = loadConfig(env).database;
    await setPassword('a new one');
    const pool = createPool({ url: address as DatabaseAddress, max: 1, name: 'test', log });
    await expect(pool.query('select 1')).rejects.toMatchObject({ code: '28P01' });
    await pool.end();
  });

  it('is rotated in a file with the whole URL too, whatever is in it, and a rotation that broke off is finished', async () => {
    const more = { DATABASE_URL_FILE: file, POSTGRES_HOST: '', POSTGRES_PASSWORD_FILE: '' };
    writeFileSync(file, `${urlWith(OLD)}?connect_timeout=5\n`);
    expect((await rotate(more)).code).toBe(0);
    const first = new URL(readFileSync(file, 'utf8'));
    expect([first.username, first.search, await logIn(first.password)]).toEqual([role, '?connect_timeout=5', 'taken']);

    // As after an end between the two steps.
    await setPassword('known ahead');
    writeFileSync(`${file}.next`, urlWith('known ahead'));
    expect(await rotate(more)).toMatchObject({ code: 0, output: expect.stringContaining('an earlier rotation') });
    expect(readFileSync(file, 'utf8')).toBe(urlWith('known ahead'));
    // Before both of them.
    writeFileSync(`${file}.next`, urlWith('never set'));
    expect(await rotate(more)).toMatchObject({ code: 0, output: expect.stringContaining('has a new password') });
    expect(await logIn('known ahead')).toBe('28P01');
    expect(() => readFileSync(`${file}.next`)).toThrow('ENOENT');
  });

  it('is the old one again where a login with the new one fails', async () => {
    await sql.raw(`alter role ${role} connection limit 1`).execute(world.db);
    const { code, output } = await rotate();
    expect([code, output]).toEqual([1, expect.stringContaining('the old one is in force again')]);
    await until('its connection is gone', async () => (await logIn(OLD)) !== '53300');
    expect([await logIn(OLD), readFileSync(file, 'utf8')]).toEqual(['taken', OLD]);
    expect(() => readFileSync(`${file}.next`)).toThrow('ENOENT');
  });

  it('is left alone where its file is missing or wrong', async () => {
    const none = await rotate({ POSTGRES_PASSWORD_FILE: '', POSTGRES_PASSWORD: OLD });
    expect([none.code, none.output]).toEqual([1, expect.stringContaining('POSTGRES_PASSWORD_FILE')]);
    writeFileSync(file, 'not the one');
    const wrong = await rotate();
    expect([wrong.code, wrong.output]).toEqual([1, expect.stringContaining(`refuses the password in ${file}`)]);
    expect(await logIn(OLD)).toBe('taken');
  });
});
