import { type KyselyPlugin, sql } from 'kysely';
import { expect, it } from 'vitest';
import { createAdmission } from '../../src/api/limits/admission.ts';
import { useTasks } from '../support/tasks.ts';

const { database } = useTasks();

it('tasks of a user at the limit are counted the less often the more there are, however often the user asks', async () => {
  const waiting = 50_000;
  for (let stored = 0; stored < waiting; stored += 5_000)
    await sql`
    insert into tasks (id, user_id, type, lane, status, input, max_attempts, timeout_ms)
    select gen_random_uuid(), ${database.userId}, 'echo', 'system', 'pending', '{}', 3, 1000 from generate_series(1, 5000)`.execute(
      database.db,
    );
  let looks = 0;
  const counter: KyselyPlugin = {
    transformQuery({ node }) {
      looks++;
      return node;
    },
    transformResult: async ({ result }) => result,
  };
  const of = () => ({ waiting_tasks: waiting, running_tasks: 0, tokens_per_day: 0, requests_per_minute: 0 });
  const limits = { of, close: async () => {} };
  const admission = createAdmission({ db: database.db.withPlugin(counter), limits });
  const refused = () => expect(admission.admit(database.userId, 1)).rejects.toThrow('waiting_tasks');
  await refused();
  expect(looks).toBe(1);
  const since = performance.now();
  while (performance.now() - since < 450) {
    await refused();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(looks).toBeLessThanOrEqual(1 + (performance.now() - since) / 500);
});
