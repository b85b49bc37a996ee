import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Sutazai } from '../../src/client/index.ts';
import { loadConfig } from '../../src/config.ts';
import { createDb, createPool } from '../../src/db/connect.ts';
import { run } from '../../src/deps.ts';
import { errorMessage } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { startDebianPostgres } from '../support/debian-postgres.ts';
import { startFakeOllama } from '../support/fake-ollama.ts';
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
  /** The folder in which the stores and the backup lie. */
  parent: string;
}

/** How long each part took, in milliseconds, and what is not as it was. */
export interface Drilled {
  backupMs: number;
  restoreMs: number;
  /** From the beginning of the restore until the last of the waiting tasks had run. */
  allRunMs: number;
  /** Sentences; none where everything has come back. */
  lost: string[];
}

const PASSWORD = 'correct horse battery';
const AT_ONCE = 1_000;

/**
 * Loses a system and brings it back: real data, a backup while it is in use, the end of Postgres and of Redis, empty ones in
 * their place, a restore, and tasks that run. @param say hears what happens
 */
export async function drill({ ended, waiting, parent }: Extent, say: (text: string) => void): Promise<Drilled> {
  const folder = mkdtempSync(join(parent, 'sutazai-drill-'));
  const closers: Array<() => Promise<void>> = [() => rm(folder, { recursive: true, force: true })];
  const log = createLog('silent');
  try {
    let postgres = await startDebianPostgres(join(folder, 'postgres'));
    closers.push(() => postgres.close());
    const redis = await startPrivateRedis();
    closers.push(() => redis.close());
    const ollama = await startFakeOllama();
    closers.push(() => ollama.close());

    const env = (lane: string) => ({
      ...{ PATH: process.env.PATH ?? '', NODE_ENV: 'test', LOG_LEVEL: 'silent', PORT: '0', BCRYPT_COST: '4' },
      ...{ DATABASE_URL: postgres.url, REDIS_URL: redis.url, WORKER_LANES: lane, ENABLE_VECTOR_SEARCH: 'false' },
      ...{
        JWT_SECRET_KEY: 'only for this drill, and long enough',
        ADMIN_PASSWORD: PASSWORD,
        OLLAMA_HOST: ollama.url,
      },
      ...{ ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'), EGRESS_ALLOW: '127.0.0.1' },
      ...{ MAX_WAITING_TASKS_PER_USER: '0', RATE_LIMIT_PER_MINUTE: '0', SHUTDOWN_GRACE_SECONDS: '1' },
      // What a task says of itself has it in its links.
      ...{ PUBLIC_URL: 'http://drill.example', BACKUP_DIR: join(folder, 'backups') },
    });
    /** The product with workers for one lane, the database, and a client. */
    const start = async (lane: string) => {
      const running = await run(loadConfig(env(lane)), 'start', log);
      const db = createDb(createPool({ url: postgres.url, max: 1, name: 'drill', log }));
      let isOpen = true;
      const close = async () => {
        if (isOpen) await Promise.all([running.close(), db.destroy()]);
        isOpen = false;
      };
      closers.push(close);
      return { db, close, client: new Sutazai({ baseUrl: running.url ?? '', username: 'admin', password: PASSWORD }) };
    };

    say(`${ended} tasks that ended and ${waiting} that wait`);
    // Nobody serves the lane of the tasks, so they wait.
    const first = await start('webhook');
    const webhook = await first.client.webhooks.create({ url: 'http://127.0.0.1:9/', events: ['task.failed'] });
    const { id: userId } = await first.client.me();
    const [old] = await storeOldTasks(first.db, { userId, count: ended, made: 2, ended: 2, title: 'before the loss' });
    const before = await first.client.tasks.get(old as string);
    for (let left = waiting; left > 0; left -= AT_ONCE)
      await first.client.tasks.submitBatch(
        Array.from({ length: Math.min(left, AT_ONCE) }, () => ({ type: 'echo', input: { message: 'it waits' } })),
      );

    say('a backup, while it is in use');
    const began = Date.now();
    say(saidBy(await runCommand(['backup'], env('system'))));
    const backupMs = Date.now() - began;
    const later = await first.client.tasks.submit({ type: 'echo', input: { message: 'after the backup' } });
    await first.close();

    say('Postgres and Redis are lost');
    await Promise.all([postgres.close(), redis.signal('SIGKILL')]);
    await rm(join(folder, 'postgres'), { recursive: true });
    const lost = Date.now();
    [postgres] = await Promise.all([startDebianPostgres(join(folder, 'postgres')), redis.start()]);
    if ((await redis.command('DBSIZE')) !== 0) throw new Error('the Redis of before is still there');
    say(saidBy(await runCommand(['restore'], env('system'))));
    const restoreMs = Date.now() - lost;

    const { db, client } = await start('system');
    const left = db.selectFrom('tasks').select('id').where('status', 'in', ['pending', 'running']).limit(1);
    const over = async () => (await left.execute()).length === 0;
    await until('all waiting tasks have run', over, { withinMs: 900_000, everyMs: 50 });
    const allRunMs = Date.now() - lost;
    say('all that waited has run');
    const counted = db.selectFrom('tasks').select(['status', ({ fn }) => fn.countAll<number>().as('n')]);
    const answers = {
      tasks: (await counted.groupBy('status').execute()).map(({ status, n }) => `${n} ${status}`),
      ended: await client.tasks.get(before.id),
      webhook: await client.webhooks.test(webhook.id).catch(errorMessage),
      later: await client.tasks.get(later.id).catch(({ status }: { status: number }) => status),
    };
    const isAsBefore = isDeepStrictEqual(answers.ended, before);
    return {
      ...{ backupMs, restoreMs, allRunMs },
      lost: [
        ...(answers.tasks.join() === `${waiting + ended} completed` ? [] : [`The tasks are ${answers.tasks}.`]),
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
