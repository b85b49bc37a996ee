import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { createLog } from '../../src/log.ts';
import { dataFolder, ROOT } from '../support/product.ts';
import { until } from '../support/until.ts';

it('a cluster whose making was killed in the middle is made again', async () => {
  const { dir, remove } = dataFolder();
  const options = { dataDir: dir, password: 'test' };
  const script = `
    import { startPostgres } from '${ROOT}src/embedded/postgres.ts';
    import { createLog } from '${ROOT}src/log.ts';
    await startPostgres({ ...${JSON.stringify(options)}, log: createLog('silent') });`;
  const killed = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' });
  const ended = new Promise((resolve) => killed.once('exit', resolve));
  // The file by which a cluster is known is the first that initdb writes.
  const isBegun = () =>
    readdirSync(dir).some((name) => name.startsWith('cluster') && existsSync(join(dir, name, 'PG_VERSION')));
  await until('initdb has begun', isBegun, { everyMs: 2 });
  killed.kill('SIGKILL');
  await ended;

  const postgres = await startPostgres({ ...options, log: createLog('silent') });
  expect(new URL(postgres.url).protocol).toBe('postgres:');
  await postgres.close();
  // The initdb that was left behind ends by itself once its folder is gone, or whole.
  await until('nothing is written any more', () =>
    remove().then(
      () => true,
      () => false,
    ),
  );
});
