import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { hash } from '@node-rs/bcrypt';
import { v7 } from 'uuid';
import { type Build, type BuildOptions, CONCURRENCY, openStores, openWorker, padded, whenUp } from './builds.ts';
import { type Child, startChild } from './child.ts';
import { statements } from './stores.ts';

/** That of all users of the bench. */
export const PASSWORD = 'only for this bench';
const MAIN = 'src/main.ts';

/**
 * The product with everything on that is on by default. Only its limits are higher, because a few users send here what
 * many would.
 */
export async function openProduct(options: BuildOptions): Promise<Build> {
  const { backend, model, apis = 1, concurrency = CONCURRENCY, users = 8, node } = options;
  const folder = join(options.folder, `product-${backend}-${randomBytes(2).toString('hex')}`);
  const stores = await openStores(folder, backend);
  const env = {
    ...{ DATA_DIR: folder, PORT: '0', DATABASE_URL: stores.postgres.url, OLLAMA_HOST: model.url },
    ...(stores.redis ? { REDIS_URL: stores.redis.url } : {}),
    ...{ ENABLE_VECTOR_SEARCH: 'false', WORKER_CONCURRENCY: `${concurrency}`, OLLAMA_NUM_PARALLEL: `${concurrency}` },
    ...{ JWT_SECRET_KEY: 'x'.repeat(40), ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64') },
    ...{ ADMIN_PASSWORD: PASSWORD, BCRYPT_COST: '4', AUTH_RATE_LIMIT_PER_MINUTE: '100000' },
    ...{ RATE_LIMIT_PER_MINUTE: '10000000', MAX_WAITING_TASKS_PER_USER: '10000000' },
    ...options.env,
  };
  const launch = (name: string, args: string[]) => startChild(folder, name, MAIN, { args, env, node });
  const start = async (name: string, args: string[]): Promise<{ child: Child; url: string }> => {
    const child = launch(name, args);
    return { child, url: await whenUp(child, join(folder, `${name}.log`)) };
  };
  const migration = launch('migrate', ['migrate', 'up']);
  const [code] = await once(migration.process, 'exit');
  if (code !== 0) throw new Error(readFileSync(join(folder, 'migrate.log'), 'utf8'));
  const servers: Awaited<ReturnType<typeof start>>[] = [];
  for (let number = 1; number <= apis; number++) servers.push(await start(`api-${number}`, ['api']));
  const worker = await openWorker(async (number) => (await start(`worker-${number}`, ['worker'])).child);
  const urls = servers.map(({ url }) => url);
  const { names, userIds } = await makeUsers(stores.postgres.url, users);
  const tokens: string[] = [];
  for (const username of names) tokens.push(await login(urls[0] as string, username));
  return {
    ...{ name: `product on ${backend}`, backend, urls, tokens, userIds, path: '/api/v1/tasks' },
    ...{ database: stores.postgres.url, redis: stores.redis },
    get processes() {
      return {
        api: servers.map(({ child }) => child.pid),
        worker: worker.pids(),
        postgres: [stores.postgres.pid],
        redis: stores.redis ? [stores.redis.pid] : [],
      };
    },
    body: (priority) => padded((prompt) => ({ type: 'generate', input: { model: 'tinyllama', prompt }, priority })),
    stopWorker: worker.stop,
    startWorker: worker.start,
    clear: () => statements(stores.postgres.url, async (client) => void (await client.query('truncate tasks cascade'))),
    async close() {
      await Promise.all([...servers.map(({ child }) => child.stop()), worker.stop()]);
      await stores.close();
    },
  };
}

/** Stores users, whom {@link login} logs in. @param cost of the hash of their password */
export async function makeUsers(database: string, count: number, cost = 4) {
  const secret = await hash(PASSWORD, cost);
  const names = Array.from({ length: count }, (_, n) => `user${n}`);
  const userIds = names.map(() => v7());
  await statements(database, (client) =>
    client.query(
      `insert into users (id, username, email, password_hash)
        select id, name, name || '@example.com', $3 from unnest($1::uuid[], $2::text[]) as given(id, name)`,
      [userIds, names, secret],
    ),
  );
  return { names, userIds };
}

/** Logs such a user in. */
export async function login(url: string, username: string): Promise<string> {
  const answer = await fetch(`${url}/api/v1/auth/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username, password: PASSWORD }),
  });
  if (!answer.ok) throw new Error(`the login answered ${answer.status}: ${await answer.text()}`);
  return ((await answer.json()) as { access_token: string }).access_token;
}
