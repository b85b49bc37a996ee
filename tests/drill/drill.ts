import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Sutazai } from '../../src/client/index.ts';
import { loadConfig } from '../../src/config.ts';
import { createDb, createPool } from '../../src/db/connect.ts';
import { migrateUp } from '../../src/db/migrate.ts';
import { type Mode, run } from '../../src/deps.ts';
import { errorMessage } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { startDebianPostgres } from '../support/debian-postgres.ts';
import { storeOldTasks } from '../support/old-tasks.ts';
import { type Finished, runCommand } from '../support/product.ts';
import { startPrivateRedis } from '../support/redis.ts';
import { until } from '../support/until.ts';

/** How much there is before the loss. */
export interface Extent {
  /** Tasks that ended. */
  ended: number;
  /** Tasks that wait. */
  waiting: number;
}

/** How long each part took, in milliseconds, and what is not as it was. */
export interface Drilled {
  /** Tried on a database that is in use, and on one that is not empty. */
  refused: Finished[];
  backupMs: number;
  restoreMs: number;
  /** From the beginning of the restore until the last of the waiting tasks had run. */
  allRunMs: number;
  /** Sentences; none where everything has come back. */
  lost: string[];
}

const PASSWORD = 'correct horse battery';
const AT_ONCE = 1_000;

/** With its owner, who is not always us. */
const copy = (from: string, to: string) => execFileSync('cp', ['-a', from, to]);

/**
 * Loses a system and brings it back: real data, a backup while it is in use, the end of Postgres and of Redis, empty ones in
 * their place, a restore, and tasks that run. @param say hears what happens
 */
export async function drill({ ended, waiting }: Extent, say: (text: string) => void): Promise<Drilled> {
  const folder = mkdtempSync(join(tmpdir(), 'sutazai-drill-'));
  const closers: Array<() => Promise<void>> = [() => rm(folder, { recursive: true, force: true })];
  const log = createLog('silent');
  try {
    mkdirSync(join(folder, 'backups'));
    let postgres = await startDebianPostgres(join(folder, 'postgres'));
    // What an empty cluster is made from a second time.
    await postgres.close();
    copy(join(folder, 'postgres'), join(folder, 'empty'));
    postgres = await startDebianPostgres(join(folder, 'postgres'));
    closers.push(() => postgres.close());
    const redis = await startPrivateRedis();
    closers.push(() => redis.close());

    const env = () => ({
      ...{ PATH: process.env.PATH ?? '', NODE_ENV: 'test', LOG_LEVEL: 'silent', PORT: '0', BCRYPT_COST: '4' },
      ...{
        DATABASE_URL: postgres.url,
        REDIS_URL: redis.url,
        OLLAMA_HOST: '127.0.0.1:9',
        ENABLE_VECTOR_SEARCH: 'false',
      },
      ...{ JWT_SECRET_KEY: 'only for this drill, and long enough', ADMIN_PASSWORD: PASSWORD },
      ...{ ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'), WORKER_LANES: 'system', EGRESS_ALLOW: '127.0.0.1' },
      ...{ MAX_WAITING_TASKS_PER_USER: '0', RATE_LIMIT_PER_MINUTE: '0', SHUTDOWN_GRACE_SECONDS: '1' },
      // What a task says of itself has it in its links.
      PUBLIC_URL: 'http://drill.example',
      BACKUP_DIR: join(folder, 'backups'),
    });
    const start = async (mode: Mode) => {
      const running = await run(loadConfig(env()), mode, log);
      closers.push(() => running.close().then(() => {}));
      return running;
    };
    const login = (baseUrl = '') => new Sutazai({ baseUrl, username: 'admin', password: PASSWORD });
    const open = () => {
      const pool = createPool({ url: postgres.url, max: 2, name: 'drill', log });
      return { pool, db: createDb(pool) };
    };

    say(`${ended} tasks that ended and ${waiting} that wait`);
    const first = open();
    await migrateUp({ ...first, log });
    const api = await start('api');
    const client = login(api.url);
    const worker = await start('worker');
    const before = await client.run('echo', { message: 'before the loss' });
    const webhook = await client.webhooks.create({ url: 'http://127.0.0.1:9/', events: ['task.failed'] });
    const { id: userId } = await client.me();
    await storeOldTasks(first.db, { userId, count: ended, made: 2, ended: 2, title: 'before the loss' });
    await worker.close();
    const submit = async (count: number) => {
      for (let left = count; left > 0; left -= AT_ONCE) {
        const tasks = Array.from({ length: Math.min(left, AT_ONCE) }, (_, n) => ({
          ...{ type: 'echo', input: { message: `waits ${n}` } },
        }));
        await client.tasks.submitBatch(tasks);
      }
    };
    await submit(waiting);

    say('a backup, while it is in use');
    const began = Date.now();
    say(saidBy(await runCommand(['backup', '--keep', '3'], env())));
    const backupMs = Date.now() - began;
    const later = await client.tasks.submit({ type: 'echo', input: { message: 'after the backup' } });
    const refused = [await runCommand(['restore', '--replace'], env())];
    await first.db.destroy();
    await api.close();
    refused.push(await runCommand(['restore'], env()));

    say('Postgres and Redis are lost');
    await Promise.all([postgres.close(), redis.signal('SIGKILL')]);
    await rm(join(folder, 'postgres'), { recursive: true });
    const lost = Date.now();
    copy(join(folder, 'empty'), join(folder, 'postgres'));
    [postgres] = await Promise.all([startDebianPostgres(join(folder, 'postgres')), redis.start()]);
    if ((await redis.command('DBSIZE')) !== 0) throw new Error('the Redis of before is still there');
    say(saidBy(await runCommand(['restore'], env())));
    const restoreMs = Date.now() - lost;

    const { db } = open();
    closers.push(() => db.destroy());
    const again = login((await start('api')).url);
    await start('worker');
    const left = db.selectFrom('tasks').select('id').where('status', 'in', ['pending', 'running']).limit(1);
    const over = async () => (await left.execute()).length === 0;
    await until('all waiting tasks have run', over, { withinMs: 900_000, everyMs: 50 });
    const allRunMs = Date.now() - lost;
    say('all that waited has run');
    const counted = db.selectFrom('tasks').select(['status', ({ fn }) => fn.countAll<number>().as('n')]);
    const answers = {
      tasks: (await counted.groupBy('status').execute()).map(({ status, n }) => `${n} ${status}`),
      ended: await again.tasks.get(before.id),
      webhook: await again.webhooks.test(webhook.id).catch(errorMessage),
      later: await again.tasks.get(later.id).catch(({ status }: { status: number }) => status),
    };
    const isAsBefore = isDeepStrictEqual(answers.ended, before);
    return {
      ...{ refused, backupMs, restoreMs, allRunMs },
      lost: [
        // Those that waited, those that had ended, and the one that was run before the loss.
        ...(answers.tasks.join() === `${waiting + ended + 1} completed` ? [] : [`The tasks are ${answers.tasks}.`]),
        ...(isAsBefore ? [] : [`A task that had ended is ${JSON.stringify(answers.ended)}.`]),
        ...(typeof answers.webhook === 'object' ? [] : [`A secret does not open: ${answers.webhook}.`]),
        ...(answers.later === 404 ? [] : ['What came after the backup is there.']),
      ],
    };
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

/** What a command said. @throws where it failed */
function saidBy({ code, stdout, stderr }: Finished): string {
  if (code !== 0) throw new Error(stderr);
  return stdout.trim();
}
