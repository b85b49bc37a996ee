import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { ask, startLoad } from '../support/load.ts';
import { type Rollout, startRollout } from '../support/rollout.ts';
import { until } from '../support/until.ts';
import { ADMIN_PASSWORD } from '../support/world.ts';

const WITHIN = { withinMs: 60_000 };

let rollout: Rollout;
beforeAll(async () => {
  rollout = await startRollout();
});
beforeEach(() => rollout.begin());
afterAll(() => rollout.close());

async function login(url: string): Promise<string> {
  const body = { username: 'admin', password: ADMIN_PASSWORD };
  return (await ask(`${url}/api/v1/auth/login`, { method: 'POST', body })).body.access_token as string;
}

test('the previous release gives way to this one, and this one to it, under load, and no request fails', async () => {
  const token = await login(rollout.url);
  const load = startLoad(rollout.url, token, 3);
  /** All of the next answers come from there. */
  const isServedBy = async (service: string) => {
    const from = load.servedBy.length;
    await until('there are answers', () => load.servedBy.length >= from + 40, WITHIN);
    expect([...new Set(load.servedBy.slice(from + 3))]).toEqual([rollout.address(service)]);
  };
  await isServedBy('api');
  // Somebody waits for an answer while everything changes.
  const submit = { method: 'POST', headers: { authorization: `Bearer ${token}` } };
  const later = { type: 'echo', input: { message: 'later' }, delay_seconds: 3_600 };
  const { body: task } = await ask(`${rollout.url}/api/v1/tasks`, { ...submit, body: later });
  const held = ask(`${rollout.url}/api/v1/tasks/${task.id}`, { headers: { ...submit.headers, prefer: 'wait=8' } });

  expect(await rollout.script('switch.sh', 'new')).toMatchObject({
    code: 0,
    said: expect.stringContaining('green serves new'),
  });
  await isServedBy('api-green');
  // A machine that starts anew now starts both, each in its version.
  expect(rollout.whole()).toEqual({ api: 'sutazai:old', 'api-green': 'sutazai:new' });
  expect(await held).toMatchObject({ status: 200, servedBy: rollout.address('api') });
  expect(await rollout.script('rollback.sh')).toMatchObject({
    code: 0,
    said: expect.stringContaining('blue serves old again'),
  });
  await isServedBy('api');
  expect(rollout.versions()['worker-system']).toBe('old');
  expect(await rollout.script('switch.sh', 'new')).toMatchObject({ code: 0 });
  expect(await rollout.script('switch.sh', '--finish')).toMatchObject({ code: 0 });
  await isServedBy('api');
  expect(rollout.versions()).toEqual({ api: 'new', 'worker-system': 'new' });
  expect([rollout.whole(), rollout.asked()]).toEqual([{ api: 'sutazai:new' }, ['api']]);
  expect(rollout.setting('COMPOSE_PROFILES')).toBe('gpu');
  // Where a rollback would go from here.
  expect(rollout.setting('API_GREEN_VERSION')).toBe('old');

  await load.stop();
  expect(load.failed).toEqual([]);
  const left = async () => {
    const { rows } = await sql<{ n: number }>`
      select count(*)::int as n from tasks where status <> 'completed' and scheduled_for is null`.execute(rollout.db);
    return rows[0]?.n;
  };
  await until('everything has run', async () => (await left()) === 0, WITHIN);
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from tasks where id = any(${load.ids}::uuid[])`.execute(rollout.db);
  expect(rows[0]?.n).toBe(load.ids.length);
  expect(rollout.settings()).toContain('# of somebody else\nCORS_ORIGINS=\n');
}, 180_000);

test.each([
  ['does not start', 'broken', 'does not come up; old goes on serving'],
  ['answers badly once the gateway asks it', 'sick', 'blue serves old again'],
])('a version that %s does not stay, and the one of before serves', async (_, version, said) => {
  const { code, said: all } = await rollout.script('switch.sh', version);
  expect([code, all]).toEqual([1, expect.stringContaining(said)]);
  expect(rollout.setting('SUTAZAI_VERSION')).toBe('old');
  expect([rollout.whole(), rollout.asked()]).toEqual([{ api: 'sutazai:old' }, ['api']]);
  expect(Object.keys(rollout.versions()).sort()).toEqual(['api', 'worker-system']);
  // It was never well, so nobody goes back to it.
  expect(rollout.setting('API_GREEN_VERSION')).toBeUndefined();
  expect(await rollout.script('rollback.sh')).toMatchObject({
    code: 1,
    said: expect.stringContaining('nothing to go'),
  });
  expect(await ask(`${rollout.url}/readyz`)).toMatchObject({ status: 200, servedBy: rollout.address('api') });
});

test('a version that does not stay leaves the one before the last to go back to', async () => {
  rollout.set('API_GREEN_VERSION', 'older');
  for (const version of ['broken', 'sick']) {
    expect(await rollout.script('switch.sh', version)).toMatchObject({ code: 1 });
    expect([rollout.setting('API_GREEN_VERSION'), rollout.setting('API_BLUE_VERSION')]).toEqual(['older', 'old']);
  }
});

test('both say what they do, and a rollback with nothing before it says so', async () => {
  for (const name of ['switch.sh', 'rollback.sh'])
    expect(await rollout.script(name, '--help')).toMatchObject({
      code: 0,
      said: expect.stringContaining('Usage: scripts/deploy/'),
    });
  expect(await rollout.script('switch.sh')).toMatchObject({ code: 1, said: expect.stringContaining('Usage') });
  expect(await rollout.script('rollback.sh')).toMatchObject({
    code: 1,
    said: expect.stringContaining('nothing to go back to'),
  });
});
