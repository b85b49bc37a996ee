import type { Rig } from './rig.ts';
import { must } from './wait.ts';

/** What a case came to, whatever the fault was. */
export interface Verdict {
  accepted: number;
  /** Accepted tasks that are not in the database or have not ended. */
  lost: number;
  /** Tasks that committed more than one output. */
  duplicated: number;
  completed: number;
  /** Milliseconds from the kill of a worker to the next attempt of each task it had. */
  rescues: number[];
  /** What is not as it must be, as sentences that begin with the number of the invariant. */
  violations: string[];
}

const ENDED = `('completed', 'failed', 'cancelled', 'expired')`;

/** Looks at everything that must be true after a fault (I1–I4 and I7), from the database and the books outside of it. */
export async function judge(rig: Rig): Promise<Verdict> {
  const violations: string[] = [];
  const { postgres, client, agent } = rig;
  const ids = [...client.book.accepted];

  // I1: every accepted id ended, or is at least there where a case leaves tasks behind.
  const lost = await postgres.query<{ id: string; status: string | null }>(
    `select a.id, t.status from unnest($1::uuid[]) a(id) left join tasks t on t.id = a.id
     where t.id is null or (t.status not in ${ENDED} and not $2)`,
    [ids, rig.mayLeaveTasks],
  );
  if (lost.length > 0)
    violations.push(
      `I1: ${lost.length} accepted tasks are lost, such as ${lost[0]?.id} (${lost[0]?.status ?? 'no row'})`,
    );

  // I2: one transition into an ended status a life; lives are begun by explicit retries only.
  const restless = await postgres.query<{ task_id: string; ends: string; retries: string }>(
    `select task_id, count(*) filter (where status in ${ENDED} and left_status not in ${ENDED}) as ends,
       count(*) filter (where left_status in ${ENDED} and status = 'pending') as retries,
       count(*) filter (where left_status in ${ENDED} and status <> 'pending' and status <> left_status) as illegal
     from rig_moves group by task_id
     having count(*) filter (where status in ${ENDED} and left_status not in ${ENDED}) >
         1 + count(*) filter (where left_status in ${ENDED} and status = 'pending')
       or count(*) filter (where left_status in ${ENDED} and status <> 'pending' and status <> left_status) > 0`,
  );
  if (restless.length > 0)
    violations.push(`I2: ${restless.length} tasks ended more than once, such as ${restless[0]?.task_id}`);

  // I3: one committed output a task and life, and the ledger agrees.
  const doubled = await postgres.query<{ task_id: string }>(
    `select task_id from rig_moves group by task_id
     having count(*) filter (where new_output) > 1 + count(*) filter (where left_status in ${ENDED} and status = 'pending')
     union select task_id from attempts where outcome = 'completed' group by task_id having count(*) >
       1 + (select count(*) from rig_moves m where m.task_id = attempts.task_id and m.left_status in ${ENDED} and m.status = 'pending')`,
  );
  if (doubled.length > 0)
    violations.push(`I3: ${doubled.length} tasks have two committed outputs, such as ${doubled[0]?.task_id}`);
  violations.push(...(await judgeEffects(rig)));

  // I4: what was subscribed was told, each event under one id.
  const untold = await postgres.query<{ id: string }>(`select d.id from deliveries d where d.status <> 'delivered'`);
  const heard = new Set(rig.sink.received.map(({ headers }) => String(headers['webhook-id'])));
  const told = await postgres.query<{ id: string }>(`select id from deliveries where status = 'delivered'`);
  const unheard = told.filter(({ id }) => !heard.has(id));
  if (!rig.mayMissWebhooks && untold.length > 0)
    violations.push(`I4: ${untold.length} webhook deliveries have not arrived, such as ${untold[0]?.id}`);
  if (unheard.length > 0) violations.push(`I4: ${unheard.length} deliveries count as delivered and never arrived`);
  const twins = await postgres.query<{ task_id: string }>(
    `select task_id from deliveries group by task_id, task_attempt, event having count(*) > 1`,
  );
  if (twins.length > 0) violations.push(`I4: ${twins.length} events have two webhook ids`);

  // I7: nobody exited but those that were told to.
  for (const member of rig.members) violations.push(...member.surprises.map((text) => `I7: ${text}`));

  const [count] = await postgres.query<{ completed: number }>(
    `select count(*)::int as completed from tasks where status = 'completed'`,
  );
  must(
    agent.ledger.every(({ effect }, at) => effect === at + 1),
    'the ledger of the agent is not in order',
  );
  return {
    accepted: ids.length,
    lost: lost.length,
    duplicated: doubled.length,
    completed: count?.completed ?? 0,
    rescues: await rescueTimes(rig),
    violations,
  };
}

/** Every call of the agent belongs to an attempt, repeats carry the same key, and the output kept is an answer it gave. */
async function judgeEffects({ postgres, agent }: Rig): Promise<string[]> {
  if (agent.ledger.length === 0) return [];
  const violations: string[] = [];
  const byKey = new Map<string, number[]>();
  for (const { key, effect } of agent.ledger) byKey.set(key, [...(byKey.get(key) ?? []), effect]);
  const rows = await postgres.query<{ id: string; attempt: number; status: string; effect: number | null }>(
    `select id, attempt, status, (output -> 'body' ->> 'effect')::int as effect from tasks where type = 'http.request'`,
  );
  const known = new Map(rows.map((row) => [row.id, row]));
  const strange = [...byKey.keys()].filter((key) => !known.has(key));
  if (strange.length > 0)
    violations.push(`I3: the agent was called ${strange.length} times under a key of no task, such as "${strange[0]}"`);
  const often = rows.filter(({ id, attempt }) => (byKey.get(id)?.length ?? 0) > attempt);
  if (often.length > 0)
    violations.push(`I3: the agent was called more often than there were attempts, such as for ${often[0]?.id}`);
  const foreign = rows.filter(
    ({ id, status, effect }) => status === 'completed' && effect !== null && !byKey.get(id)?.includes(effect),
  );
  if (foreign.length > 0)
    violations.push(`I3: ${foreign.length} outputs are not what the agent answered, such as of ${foreign[0]?.id}`);
  return violations;
}

async function rescueTimes({ postgres, kills }: Rig): Promise<number[]> {
  if (kills.length === 0) return [];
  const rows = await postgres.query<{ worker: string; next: Date | null }>(
    `select a.worker, coalesce(n.started_at, t.started_at) as next
     from attempts a join tasks t on t.id = a.task_id
     left join attempts n on n.task_id = a.task_id and n.attempt = a.attempt + 1
     where a.outcome = 'lost' and t.attempt > a.attempt`,
  );
  return rows.flatMap(({ worker, next }) => {
    const kill = kills.find(({ pid }) => worker.endsWith(`:${pid}`));
    return kill && next ? [next.getTime() - kill.at] : [];
  });
}
