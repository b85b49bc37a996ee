import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDb, createPool } from '../../../src/db/connect.ts';
import { migrateUp } from '../../../src/db/migrate.ts';
import { markLines } from '../../../src/db/tasks/place.ts';
import { beatWorker } from '../../../src/db/workers.ts';
import { startPostgres } from '../../../src/embedded/postgres.ts';
import { createLog } from '../../../src/log.ts';
import { defineBench, machine, quantile, table } from '../bench.ts';
import { flag, part, whole } from '../options.ts';
import { CASE_NAMES, type Case, listCases, taskCases } from './cases.ts';
import { explained } from './explained.ts';
import { fill } from './fill.ts';

/** What listing and explaining may take of the database at the 95th percentile. */
const ALLOWED_MS = 10;

const USAGE = {
  about: 'How long the database is busy with reads when very many tasks are there',
  options: {
    tasks: whole(1_000_000, 'tasks that are there'),
    times: whole(60, 'how often each is read'),
    only: part(CASE_NAMES, 'reads'),
    plans: flag('prints the plans of the last time'),
  },
};

export const bench = defineBench(USAGE, async ({ tasks, times, only, plans }) => {
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-bench-'));
  const log = createLog('warn');
  const postgres = await startPostgres({ dataDir: folder, password: 'bench', log, settings: { fsync: 'off' } });
  const pool = createPool({ url: postgres.url, max: 2, name: 'bench', log, statementMs: 600_000 });
  const db = createDb(pool);
  try {
    await migrateUp({ db, pool, log });
    const began = Date.now();
    const users = await fill(db, tasks);
    const seconds = Math.round((Date.now() - began) / 1000);
    console.log(`${tasks} tasks stored in ${seconds} s. ${machine()}, Postgres 18 from npm.\n`);
    await markLines(db);
    const worker = { name: 'worker', version: '0', down: [], loading: [], started_at: new Date() };
    const done = {
      lane: 'llm' as const,
      started: 90,
      completed: 90,
      failed: 0,
      runs: 90,
      run_ms: 90_000,
      run_ms_squared: 1e8,
    };
    await beatWorker(db, { ...worker, lanes: { llm: { concurrency: 2, running: 2 } } }, [done]);
    const cases = [...listCases(users), ...(await taskCases(pool))].filter(({ name }) => name.includes(only));
    return await measure(cases, explained(pool), times, plans);
  } finally {
    await db.destroy();
    await postgres.close();
    await rm(folder, { recursive: true, force: true });
  }
});

async function measure(
  cases: Case[],
  { db, take, plans }: ReturnType<typeof explained>,
  times: number,
  showPlans: boolean,
): Promise<boolean> {
  const rows = [['read', 'p50 ms', 'p95 ms', 'max ms', 'statements']];
  const slow: string[] = [];
  const all: number[] = [];
  for (const { name, run } of cases) {
    const taken: number[] = [];
    let statements = 0;
    for (let time = -3; time < times; time++) {
      await run(db);
      if (time === times - 1 && showPlans) console.log(plans().join('\n\n'));
      const one = take();
      if (time < 0) continue;
      taken.push(one.ms);
      statements = Math.max(statements, one.statements);
    }
    all.push(...taken);
    const p95 = quantile(taken, 0.95);
    if (p95 > ALLOWED_MS) slow.push(`${name}: ${p95.toFixed(1)} ms`);
    rows.push([name, ...[quantile(taken, 0.5), p95, Math.max(...taken)].map((ms) => ms.toFixed(2)), `${statements}`]);
  }
  rows.push(['all', ...[quantile(all, 0.5), quantile(all, 0.95), Math.max(...all)].map((ms) => ms.toFixed(2)), '']);
  console.log(table(rows));
  for (const line of slow) console.error(`slower than ${ALLOWED_MS} ms at p95: ${line}`);
  return slow.length === 0;
}
