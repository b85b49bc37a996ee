import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineCase } from '../rig/case.ts';
import type { Rig } from '../rig/rig.ts';
import { lasting, must, until } from '../rig/wait.ts';

/** Postgres that goes away, and schemas that change under load. */
export const databaseCases = [
  defineCase({
    id: 'F31',
    title: 'the disk of Postgres is full for 15 s',
    topology: { smallDisk: { of: 'postgres', megabytes: 320 } },
    async run(rig) {
      must(rig.disk, 'there is no small disk');
      let over = false;
      // Inputs that are kept in the table itself and fill the write-ahead log.
      const message = 'x'.repeat(1_500);
      const load = rig.client.load(
        Array.from({ length: 50_000 }, () => ({ type: 'echo', input: { message } })),
        { perSecond: 200, atOnce: 32, until: () => over },
      );
      await lasting(1_000);
      rig.disk.fill();
      await until('a refused submission', () => (rig.client.book.answers.get(503) ?? 0) > 0, 30_000);
      await lasting(15_000);
      rig.disk.free();
      // Without room for its log Postgres may have given up; a supervisor would start it again.
      if (!(await rig.postgres.alive())) await rig.postgres.start();
      await rig.readiness.becomes('ready', 20_000);
      const refused = rig.client.book.answers.get(503) ?? 0;
      await lasting(2_000);
      over = true;
      await load;
      const others = [...rig.client.book.answers.keys()].filter((status) => status !== 202 && status !== 503);
      must(others.length === 0, `submissions were answered ${others.join(', ')} beside 202 and 503`);
      rig.note(`${refused} submissions were refused`);
    },
  }),
  defineCase({
    id: 'F27',
    title: 'Postgres crashes and is back after 20 s, under 200 requests a second',
    async run(rig) {
      const long = await rig.client.load(
        Array.from({ length: 30 }, () => rig.agentTask(8_000)),
        { insist: true },
      );
      await until('thirty busy calls', () => rig.agent.busy() === 30);
      let over = false;
      const load = rig.client.load(
        Array.from({ length: 20_000 }, () => ({ type: 'echo', input: { message: 'during' } })),
        { perSecond: 200, atOnce: 64, until: () => over },
      );
      await lasting(1_000);
      await rig.postgres.signal('SIGQUIT');
      const down = Date.now();
      const noticed = await rig.readiness.becomes('not ready', 5_000);
      await lasting(20_000 - (Date.now() - down));
      await rig.postgres.start();
      const ready = await rig.readiness.becomes('ready', 10_000);
      await lasting(2_000);
      over = true;
      await load;
      const answers = rig.client.book.answers;
      const others = [...answers.keys()].filter((status) => status !== 202 && status !== 503);
      must(others.length === 0, `submissions were answered ${others.join(', ')} beside 202 and 503`);
      must((answers.get(503) ?? 0) > 0, 'no submission was answered 503 during the outage');
      const rows = await rig.postgres.query<{ attempt: number }>(
        `select attempt from tasks where id = any($1::uuid[])`,
        [long],
      );
      await until('what had been running is settled', async () => {
        const [row] = await rig.postgres.query<{ n: number }>(
          `select count(*)::int as n from tasks where id = any($1::uuid[]) and status = 'completed'`,
          [long],
        );
        return row?.n === 30;
      });
      must(
        rows.every(({ attempt }) => attempt === 1),
        'results that were finished during the outage were thrown away',
      );
      rig.note(`not ready after ${noticed} ms, ready again after ${ready} ms; slowest answer ${slowest(rig)} s`);
    },
  }),
  defineCase({
    id: 'F32',
    title: 'a migration meets a table that a long query holds',
    backends: ['postgres'],
    topology: { workers: 1 },
    async run(rig) {
      const folder = await migrations(rig, [`alter table tasks add column rig_extra text`]);
      let reading = true;
      const held = rig.postgres.query(`select pg_sleep(6) from (select 1 from tasks limit 1) t`);
      const deployer = deploy(rig, folder);
      const waits: number[] = [];
      const reader = (async () => {
        while (reading) {
          const { ms, status } = await rig.client.request('GET', '/api/v1/tasks?limit=1');
          must(status === 200, `a list was answered ${status}`);
          waits.push(ms);
          await lasting(100);
        }
      })();
      await held;
      must((await deployer.ended) === 0, `the migration failed: ${deployer.output()}`);
      reading = false;
      await reader;
      must(Math.max(...waits) < 2_500, `a read waited ${Math.round(Math.max(...waits))} ms behind the migration`);
      rig.note(`reads waited ${Math.round(Math.max(...waits))} ms at most`);
    },
  }),
  defineCase({
    id: 'F33',
    title: 'two deployers migrate at once, and one dies in the middle',
    backends: ['postgres'],
    topology: { workers: 1 },
    async run(rig) {
      const folder = await migrations(rig, [
        `create table rig_once (n integer); insert into rig_once values (1)`,
        `select pg_sleep(3); insert into rig_once values (2)`,
        `insert into rig_once values (3)`,
      ]);
      const first = deploy(rig, folder);
      const second = deploy(rig, folder);
      await until('the second migration at work', async () => {
        const rows = await rig.postgres.query(
          `select 1 from pg_stat_activity where query like '%pg_sleep(3)%' and application_name = 'deployer' and state = 'active'`,
        );
        return rows.length > 0;
      });
      first.kill();
      await first.ended;
      const code = await second.ended;
      if (code !== 0) {
        // The one that was killed may have been the one that waited; then the other has done it all.
        throw new Error(`the other deployer failed: ${second.output()}`);
      }
      const rows = await rig.postgres.query<{ n: number }>(`select n from rig_once order by n`);
      must(rows.map(({ n }) => n).join() === '1,2,3', `the steps ran as ${rows.map(({ n }) => n).join()}`);
      const locks = await rig.postgres.query(`select 1 from pg_locks where locktype = 'advisory' and granted and pid in
        (select pid from pg_stat_activity where application_name = 'deployer')`);
      must(locks.length === 0, 'a dead deployer still holds its lock');
    },
  }),
];

const slowest = (rig: Rig) => (Math.max(...rig.client.book.waits) / 1000).toFixed(1);

/** The product's migrations and further ones behind them, in a folder of the rig. */
async function migrations(rig: Rig, statements: string[]): Promise<string> {
  const folder = join(rig.folder, 'migrations');
  await mkdir(folder, { recursive: true });
  const own = fileURLToPath(new URL('../../../migrations/', import.meta.url));
  const applied = await rig.postgres.query<{ name: string }>('select name from kysely_migration order by name');
  for (const { name } of applied) await writeFile(join(folder, `${name}.ts`), `export * from '${own}${name}.ts';\n`);
  for (const [index, statement] of statements.entries()) {
    const body = `import { sql } from '${import.meta.resolve('kysely')}';\nexport const up = async (db) => { for (const text of ${JSON.stringify(statement.split('; '))}) await sql.raw(text).execute(db); };\n`;
    await writeFile(join(folder, `9${index}_rig.ts`), body);
  }
  return folder;
}

/** A process that brings the schema up from this folder. */
function deploy(rig: Rig, folder: string) {
  const script = fileURLToPath(new URL('../rig/deployer.ts', import.meta.url));
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', script, rig.postgres.url, folder], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  return {
    kill: () => child.kill('SIGKILL'),
    output: () => output,
    ended: new Promise<number | null>((resolve) => child.once('close', resolve)),
  };
}
