import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { loadSecrets } from '../../src/embedded/home.ts';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { createLog } from '../../src/log.ts';
import { spawnSutazai } from '../support/process.ts';
import { dataFolder, ROOT } from '../support/product.ts';
import { until } from '../support/until.ts';

const folder = dataFolder();
const dir = join(folder.dir, 'postgres');
const { POSTGRES_PASSWORD: password } = loadSecrets(folder.dir);

afterAll(() =>
  // The initdb that was left behind ends by itself once its folder is gone, or whole.
  until('nothing is written any more', () =>
    folder.remove().then(
      () => true,
      () => false,
    ),
  ),
);

it('a cluster whose making was killed in the middle is made again', async () => {
  const options = { dataDir: dir, password };
  const script = `
    import { startPostgres } from '${ROOT}src/embedded/postgres.ts';
    import { createLog } from '${ROOT}src/log.ts';
    await startPostgres({ ...${JSON.stringify(options)}, log: createLog('silent') });`;
  const killed = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' });
  const ended = new Promise((resolve) => killed.once('exit', resolve));
  // The file by which a cluster is known is the first that initdb writes.
  const isBegun = () =>
    existsSync(dir) &&
    readdirSync(dir).some((name) => name.startsWith('cluster') && existsSync(join(dir, name, 'PG_VERSION')));
  await until('initdb has begun', isBegun, { everyMs: 2 });
  killed.kill('SIGKILL');
  await ended;

  const postgres = await startPostgres({ ...options, log: createLog('silent') });
  expect(new URL(postgres.url).protocol).toBe('postgres:');
  await postgres.close();
});

it('Ctrl-C in `sutazai migrate` takes the database down that it started, and says where things stand', async () => {
  const running = () => existsSync(join(dir, 'cluster', 'postmaster.pid'));
  const migrating = spawnSutazai(['migrate', 'up'], folder.env);
  await until('Postgres starts', running, { everyMs: 2 });
  expect(await migrating.kill('SIGINT')).toBe(130);
  expect(migrating.output()).toMatch(
    /Breaking off …[\s\S]*`sutazai migrate status` shows which migrations are applied/,
  );
  await until('Postgres is gone', () => spawnSync('pgrep', ['-f', `${dir}/cluster -c`]).status === 1);
});
