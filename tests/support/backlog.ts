import { sql } from 'kysely';
import type { Db } from '../../src/db/connect.ts';
import { type AdmitRound, createAdmitRound } from '../../src/queues/admit-round.ts';
import type { Dispatcher } from '../../src/queues/dispatcher.ts';
import type { LanePace } from '../../src/queues/front.ts';

/** Rounds over the backlogs of a test's own database; the lane `system` has two slots, and a front of four. */
export function createRounds(
  db: Db,
  dispatcher: Dispatcher,
  { most = 100, agingMs = 600_000, pace = { slots: 2, mean_ms: null } as LanePace } = {},
): AdmitRound {
  const round = createAdmitRound({ db, dispatcher, most, agingMs, choosing: new Set() });
  round.learn([{ lane: 'system', ...pace }], new Map(), new Set());
  return round;
}

/** Stores so many tasks of a user at the end of the backlog of the lane `system`; they wait since an hour ago, a millisecond each. */
export async function storeBacklog(db: Db, userId: string, count: number, priority = 5): Promise<void> {
  const most = 10_000;
  if (count > most) await storeBacklog(db, userId, count - most, priority);
  await sql`
    insert into tasks (id, user_id, type, lane, status, priority, input, max_attempts, timeout_ms, created_at, ready_at, held_by)
    select gen_random_uuid(), ${userId}, 'echo', 'system', 'pending', ${priority}, '{"message":"x"}', 3, 30000,
      since, since, 'lane' from generate_series(1, ${Math.min(count, most)}::int) n,
      lateral (select now() - interval '1 hour' + n * interval '1 ms' as since) s`.execute(db);
}
