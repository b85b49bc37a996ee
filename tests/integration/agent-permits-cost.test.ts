import { sql } from 'kysely';
import { expect, test } from 'vitest';
import { insertCall } from '../../src/db/agent-calls.ts';
import { newId } from '../../src/db/ids.ts';
import { useTasks } from '../support/tasks.ts';

const { database, running } = useTasks();

test('what an agent goes on with is not looked through each time that somebody asks for a place', async () => {
  const [agent_id, going, asking] = [newId(), await running(), await running()];
  await database.db
    .insertInto('agents')
    .values({
      id: agent_id,
      name: 'busy',
      type: 'http',
      endpoint: 'http://127.0.0.1:9',
      capabilities: '[]',
      config: '{}',
    })
    .execute();
  await sql`insert into agent_health (agent_id) values (${agent_id})`.execute(database.db);
  await sql`insert into agent_calls (id, agent_id, task_id, attempt, kept, at)
    select gen_random_uuid(), ${agent_id}, ${going}, 1, true, now() - interval '1 hour' from generate_series(1, 400)`.execute(
    database.db,
  );
  const call = { id: newId(), agent_id, task_id: asking, attempt: 1 };
  const read = await database.db.transaction().execute(async (trx) => {
    await insertCall(trx, call, { concurrency: null, perMinute: null, trial: false });
    const { rows } = await sql<{ rows: number }>`select (seq_tup_read + idx_tup_fetch)::int as rows
      from pg_stat_xact_user_tables where relname = 'tasks'`.execute(trx);
    return rows[0]?.rows;
  });
  expect(read).toBeLessThan(100);
});
