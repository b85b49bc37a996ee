import { join } from 'node:path';
import { createDb, createPool } from '../../../src/db/connect.ts';
import { migrateUp } from '../../../src/db/migrate.ts';
import { startPostgres } from '../../../src/embedded/postgres.ts';
import { createLog } from '../../../src/log.ts';
import { migrateQueueBackend } from '../../../src/queues/backend.ts';

/** Every move of a task, written by the database itself, so that the product cannot leave one out. */
const WITNESS = `
  create table rig_moves (
    seq bigint generated always as identity primary key,
    task_id uuid not null,
    left_status text,
    status text not null,
    attempt integer not null,
    new_output boolean not null,
    at timestamptz not null default clock_timestamp()
  );
  create index rig_moves_task on rig_moves (task_id);
  create function rig_witness() returns trigger language plpgsql as $$
  begin
    insert into rig_moves (task_id, left_status, status, attempt, new_output)
    values (new.id, old.status, new.status, new.attempt,
      new.output is not null and old.output::text is distinct from new.output::text);
    return null;
  end $$;
  create trigger rig_witness after update on tasks for each row
    when (old.status is distinct from new.status or old.output::text is distinct from new.output::text)
    execute function rig_witness();`;

/** Makes a cluster with the schema and the witness in it, for the cases to copy. Answers its folder. */
export async function makeTemplate(folder: string): Promise<string> {
  const dataDir = join(folder, 'template');
  const log = createLog('silent');
  const server = await startPostgres({ dataDir, password: 'rig', log });
  const pool = createPool({ url: server.url, max: 2, name: 'rig', log });
  const db = createDb(pool);
  await migrateUp({ db, pool, log });
  await migrateQueueBackend({ kind: 'postgres' }, pool);
  await pool.query(WITNESS);
  await db.destroy();
  await server.close();
  return dataDir;
}
