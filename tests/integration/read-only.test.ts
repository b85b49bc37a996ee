import { sql } from 'kysely';
import { afterEach, describe, expect, it } from 'vitest';
import { LANE_DEFAULTS } from '../../src/tasks/lanes.ts';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { until } from '../support/until.ts';
import { BACKENDS, createWorld, type World } from '../support/world.ts';

const lasting = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe.each(BACKENDS)('a database that takes no writes, with jobs on %s', (backend) => {
  let world: World;
  afterEach(async () => {
    await readOnly(false);
    await world.close();
  });

  /** As an operator would, or a switch to a standby: for all sessions, those included that are open. */
  async function readOnly(on: boolean): Promise<void> {
    const name = new URL(world.databaseUrl).pathname.slice(1);
    await sql`set default_transaction_read_only = off`.execute(world.db);
    await sql.raw(`alter database ${name} set default_transaction_read_only = ${on}`).execute(world.db);
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`.execute(
      world.db,
    );
  }

  it('is read from; writes are put off, workers stop claiming without asking all the time, and all goes on afterwards', async () => {
    world = await createWorld({ backend, env: { WORKER_LANES: 'webhook' } });
    const client = await world.client();
    const tasks = Array.from({ length: 100 }, (_, n) => ({ type: 'echo', input: { message: `${n}` } }));
    const batch = await client.request<{ tasks: PresentedTask[] }>('POST', '/api/v1/tasks/batch', { tasks });
    const ids = batch.body.tasks.map(({ id }) => id);
    await readOnly(true);
    await expect.poll(async () => (await client.request('GET', '/readyz')).status, { timeout: 10_000 }).toBe(503);
    expect((await client.request('GET', `/api/v1/tasks/${ids[0]}`)).status).toBe(200);
    const refused = await client.request('POST', '/api/v1/tasks', tasks[0]);
    expect(refused).toMatchObject({ status: 503, body: { code: 'temporary-reduced-capacity' } });

    await world.join('worker', { WORKER_LANES: 'system' });
    const statements = async () =>
      (
        await sql<{ n: number }>`
          select (xact_commit + xact_rollback)::int as n from pg_stat_database where datname = current_database()`.execute(
          world.db,
        )
      ).rows[0]?.n ?? 0;
    await lasting(1_500);
    const before = await statements();
    await lasting(3_000);
    // Reconcilers, gates, brakes and this count ask some times a second in all; a busy loop asks thousands of times.
    expect((await statements()) - before).toBeLessThan(150);
    const { body } = await client.request<{ dependencies: Array<{ name: string; waiting: number }> }>('GET', '/readyz');
    const queues = body.dependencies.find(({ name }) => name === 'queues');
    expect(queues?.waiting).toBeGreaterThanOrEqual(100 - LANE_DEFAULTS.system.concurrency);

    await readOnly(false);
    await until(
      'all are done',
      async () => {
        const rows = await world.db
          .selectFrom('tasks')
          .select('status')
          .execute()
          .catch(() => []);
        return rows.length === 100 && rows.every(({ status }) => status === 'completed');
      },
      { withinMs: 25_000, everyMs: 100 },
    );
    const attempts = await world.db.selectFrom('attempts').select('outcome').execute();
    expect(attempts.map(({ outcome }) => outcome)).toEqual(Array(100).fill('completed'));
  });
});
