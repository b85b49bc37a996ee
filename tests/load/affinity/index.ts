import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { createDb, createPool, type Db } from '../../../src/db/connect.ts';
import { startPostgres } from '../../../src/embedded/postgres.ts';
import { createLog } from '../../../src/log.ts';
import { startFakeOllama } from '../../support/fake-ollama.ts';
import { holdOneModel } from '../../support/one-model-host.ts';
import { startProduct } from '../../support/product.ts';
import { until } from '../../support/until.ts';
import { defineBench, machine, table } from '../bench.ts';
import { number, whole } from '../options.ts';

const PASSWORD = 'only for this bench';
const MODELS = ['a', 'b', 'c'];
const PATIENCE = { withinMs: 3_600_000, everyMs: 200 };

const USAGE = {
  about:
    'How long tasks of three models take on a host that holds one of them, in the order of their turns and with affinity',
  options: {
    tasks: whole(45, 'tasks, mixed'),
    many: whole(180, 'tasks of the last case'),
    load: number(5, 'seconds that the host needs to load a model'),
    run: number(0.2, 'seconds that a task runs'),
    bound: whole(30, 'MODEL_AFFINITY_SECONDS'),
  },
};

export const bench = defineBench(USAGE, async ({ tasks, many, load, run, bound }) => {
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-bench-'));
  const log = createLog('warn');
  const postgres = await startPostgres({ dataDir: join(folder, 'postgres'), password: 'bench', log });
  const ollama = await startFakeOllama();
  for (const name of MODELS) ollama.models.push({ name: `${name}:latest`, capabilities: ['completion'] });
  const env = {
    ...{ PATH: process.env.PATH ?? '', HOME: folder, DATA_DIR: folder, LOG_LEVEL: 'warn', PORT: '0' },
    ...{ DATABASE_URL: postgres.url, OLLAMA_HOST: ollama.url, ENABLE_VECTOR_SEARCH: 'false' },
    ...{ OLLAMA_NUM_PARALLEL: '1', OLLAMA_MAX_LOADED_MODELS: '1', RATE_LIMIT_PER_MINUTE: '0' },
    ...{ JWT_SECRET_KEY: 'x'.repeat(40), ENCRYPTION_KEY: Buffer.alloc(32).toString('base64') },
    ...{ ADMIN_PASSWORD: PASSWORD, MAX_WAITING_TASKS_PER_USER: '0' },
  };
  const product = await startProduct(['start'], { ...env, WORKER_LANES: 'system' });
  const pool = createPool({ url: postgres.url, max: 2, name: 'bench', log });
  const db = createDb(pool);
  try {
    console.log(
      `A host that holds one model, loads in ${load} s and runs in ${run} s; tasks of ${MODELS.length} models, mixed. ${machine()}, Postgres 18 from npm.\n`,
    );
    const rows = [['order', 'tasks', 'total s', 'loads', 'longest wait s', 'longest passed over s', 'allowed s']];
    let good = true;
    const submit = await submitter(product.url);
    for (const [name, seconds, count] of [
      ['of the turns', 0, tasks],
      ['with affinity', bound, tasks],
      ['with affinity', bound, many],
    ] as const) {
      await sql`truncate tasks cascade`.execute(db);
      const host = holdOneModel(ollama, { loadMs: load * 1_000, runMs: run * 1_000 });
      await submit(count);
      const worker = await startProduct(['worker'], {
        ...env,
        WORKER_LANES: 'llm',
        MODEL_AFFINITY_SECONDS: String(seconds),
      });
      await until('all have ended', async () => (await open(db)) === 0, PATIENCE);
      await worker.stop('SIGTERM');
      const { total, wait, passed, failed } = await look(db);
      // Whoever is due waits for the one that runs.
      const allowed = seconds + load + run;
      rows.push([
        ...[name, `${count}`, total.toFixed(1), `${host.loads}`, wait.toFixed(1), passed.toFixed(1)],
        seconds === 0 ? '0' : allowed.toFixed(1),
      ]);
      good &&= failed === 0 && host.runs.length === count && passed <= (seconds === 0 ? 0 : allowed);
      if (seconds > 0 && count === tasks) good &&= wait <= bound;
    }
    console.log(`${table(rows)}\n`);
    return good;
  } finally {
    await db.destroy();
    await product.stop('SIGTERM');
    await ollama.close();
    await postgres.close();
    await rm(folder, { recursive: true, force: true });
  }
});

async function open(db: Db): Promise<number> {
  const { rows } = await sql<{ n: number }>`select count(*)::int as n from tasks where completed_at is null`.execute(
    db,
  );
  return rows[0]?.n ?? 0;
}

/** Times in seconds: from the first start to the last end, the longest wait from then on, and the longest that anybody was passed over. */
async function look(db: Db) {
  // Who came later and started earlier passed a task over for as long as it ran.
  const { rows } = await sql<{ total: number; wait: number; passed: number; failed: number }>`
    with t as (select id, created_at, started_at, completed_at, status from tasks),
    first as (select min(started_at) as at from t)
    select extract(epoch from max(completed_at) - min(started_at))::float as total,
      (select max(extract(epoch from started_at - first.at))::float from t, first) as wait,
      (select coalesce(max(over), 0)::float from (
        select sum(extract(epoch from least(o.completed_at, t.started_at) - o.started_at)) as over
        from t join t o on o.id > t.id and o.started_at < t.started_at group by t.id) as each) as passed,
      count(*) filter (where status <> 'completed')::int as failed
    from t`.execute(db);
  return rows[0] as (typeof rows)[number];
}

/** Makes a function that submits so many tasks of the models in an order that looks random and is the same each time. */
async function submitter(url: string): Promise<(count: number) => Promise<void>> {
  let token = '';
  const call = async (path: string, body: object) => {
    const answer = await fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
    return (await answer.json()) as { access_token: string };
  };
  token = (await call('/api/v1/auth/login', { username: 'admin', password: PASSWORD })).access_token;
  return async (count) => {
    let state = 7;
    const next = () => {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((state / 2 ** 31) * MODELS.length);
    };
    const tasks = Array.from({ length: count }, () => ({
      type: 'generate',
      input: { prompt: 'x', model: `${MODELS[next()]}:latest` },
    }));
    for (let at = 0; at < count; at += 100) await call('/api/v1/tasks/batch', { tasks: tasks.slice(at, at + 100) });
  };
}
