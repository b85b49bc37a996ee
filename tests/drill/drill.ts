import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Sutazai } from '../../src/client/index.ts';
import { loadConfig } from '../../src/config.ts';
import { createDb, createPool } from '../../src/db/connect.ts';
import { migrateUp } from '../../src/db/migrate.ts';
import { type Mode, run } from '../../src/deps.ts';
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

/** How long each part took, in milliseconds, and what was there at the end. */
export interface Drilled {
  backup: Finished;
  /** Tried on a database that is in use, and on one that is not empty. */
  refused: Finished[];
  restore: Finished;
  backupMs: number;
  restoreMs: number;
  /** From the beginning of the restore until the last of the waiting tasks had run. */
  allRunMs: number;
  /** Tasks in the database by their status, the ended ones of before with it. */
  statuses: Record<string, number>;
  /** A task that had ended before, as the API answers it before and after. */
  endedTask: { before: unknown; after: unknown };
  /** Whether a secret that is stored sealed can still be used. */
  sealedOpens: boolean;
  /** Whether what came after the backup is gone, as it has to be. */
  laterIsGone: boolean;
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
    const backup = await runCommand(['backup', '--keep', '3'], env());
    const backupMs = Date.now() - began;
    say(backup.stdout.trim() || backup.stderr);
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
    const restore = await runCommand(['restore'], env());
    const restoreMs = Date.now() - lost;
    say(restore.stdout.trim() || restore.stderr);

    const { db } = open();
    closers.push(() => db.destroy());
    const again = login((await start('api')).url);
    await start('worker');
    const byStatus = async () => {
      const query = db.selectFrom('tasks').select(['status', ({ fn }) => fn.countAll<string>().as('n')]);
      const rows = await query.groupBy('status').execute();
      return Object.fromEntries(rows.map(({ status, n }) => [status, Number(n)]));
    };
    const over = async () => !(await byStatus()).pending && !(await byStatus()).running;
    await until('all waiting tasks have run', over, { withinMs: 900_000, everyMs: 50 });
    const allRunMs = Date.now() - lost;
    say(`all that waited has run, ${(allRunMs / 60_000).toFixed(2)} minutes after the loss`);
    return {
      ...{ backup, refused, restore, backupMs, restoreMs, allRunMs, statuses: await byStatus() },
      endedTask: { before, after: await again.tasks.get(before.id) },
      sealedOpens: await again.webhooks.test(webhook.id).then(
        () => true,
        () => false,
      ),
      laterIsGone: await again.tasks.get(later.id).then(
        () => false,
        ({ status }: { status: number }) => status === 404,
      ),
    };
  } finally {
    for (const close of closers.reverse()) await close();
  }
}
