import { type Kysely, sql } from 'kysely';
import type { Database } from '../../../src/db/schema.ts';

/** Users by how many of 1,000 tasks are theirs. */
const USERS = { big: 900, middle: 70, small: 29, tiny: 1 };

export type UserName = keyof typeof USERS;

/**
 * Fills the database with tasks of the last 30 days, the last three in ten of them waiting. Answers the ids of the users.
 * What is rare, common, of a certain time only and nowhere to be found is for the cases of `cases.ts`.
 */
export async function fill(db: Kysely<Database>, count: number): Promise<Record<UserName, string>> {
  const ids = {} as Record<UserName, string>;
  for (const name of Object.keys(USERS) as UserName[]) {
    const { rows } = await sql<{ id: string }>`
      insert into users (id, username, email, password_hash) values (uuidv7(), ${name}, ${`${name}@example.com`}, '-')
      returning id`.execute(db);
    ids[name] = rows[0]?.id as string;
  }
  let below = 0;
  const shares = Object.entries(USERS).map(([name, share]) => {
    below += share;
    return sql`when u < ${below} then ${ids[name as UserName]}::uuid`;
  });
  const userOf = sql`case ${sql.join(shares, sql` `)} end`;
  // Written by one statement below, which is quicker than the trigger.
  await sql`alter table tasks disable trigger user`.execute(db);
  for (let from = 0; from < count; from += STEP) {
    await sql`
      insert into tasks (id, user_id, type, lane, title, status, priority, input, output, error, attempt, max_attempts,
        timeout_ms, tags, model, created_at, ready_at, queued_at, scheduled_for, started_at, completed_at, lease_until, worker)
      select uuidv7(at - now()), ${userOf}, type,
        case type when 'chat' then 'llm' when 'generate' then 'llm' when 'embed' then 'embed'
          when 'http.request' then 'agent' when 'vector.search' then 'vector' else 'system' end,
        case when n % 3 > 0 then format('Report for customer %s, week %s', n % 5000, n / 20000) end,
        status, 1 + n % 10, json_build_object('message', repeat('x', 200)),
        case status when 'completed' then json_build_object('message', repeat('y', 200)) end,
        case when status = 'failed' then jsonb_build_object('retryable', false, 'message', 'It did not work.', 'code',
          case when n % 19997 = 9 then 'poison' when n % 2 = 0 then 'timeout' else 'upstream_unavailable' end) end,
        case when ended then 1 else 0 end, 3, 30000,
        array_remove(array[case when n % 10 < 3 then 'nightly' end, case when n % 2 = 0 then 'run-' || n / 20000 end,
          case when n % 7 = 0 then 'customer-' || n % 5000 end, case when n % 199999 = 7 then 'rare' end], null),
        case when status = 'completed' and type in ('chat', 'generate') then
          case when n % 249989 = 1 then 'qwen:0.5b' when n % 4 = 0 then 'llama3:8b' else 'tinyllama:latest' end end,
        at, case status when 'scheduled' then now() + interval '1 day' else at end, null,
        case status when 'scheduled' then now() + interval '1 day' end,
        case when ended or status = 'running' then at + interval '1 second' end, case when ended then at + interval '2 seconds' end,
        case status when 'running' then now() + interval '1 hour' end, case status when 'running' then 'worker:1' end
      from (
        select n, (n::bigint * 7919) % 1000 as u, now() - (${count}::int - n) * interval '2.592 seconds' as at,
          case when n % 99991 = 3 then 'vector.search' when n % 20 < 8 then 'chat' when n % 20 < 11 then 'embed'
            when n % 20 < 13 then 'generate' when n % 20 < 15 then 'http.request' else 'echo' end as type,
          case when n > 0.7 * ${count}::int then
              case when n % 50 = 7 then 'scheduled' when n % 2000 = 11 then 'running' else 'pending' end
            when n % 20 = 1 then 'failed' when n % 50 = 13 then 'cancelled' when n % 100 = 77 then 'expired'
            else 'completed' end as status, n <= 0.7 * ${count}::int as ended
        from generate_series(${from + 1}::int, ${Math.min(count, from + STEP)}::int) as n
      ) as made`.execute(db);
    await sql`
      insert into task_terms (task_id, user_id, term)
      select id, user_id, term from tasks, find_task_terms(title, tags) as term
      where id > (select coalesce((select task_id from task_terms order by task_id desc limit 1), '00000000-0000-0000-0000-000000000000'))
      on conflict do nothing`.execute(db);
  }
  await sql`alter table tasks enable trigger user`.execute(db);
  for (const name of ['tasks', 'task_terms']) await sql`vacuum (analyze) ${sql.table(name)}`.execute(db);
  return ids;
}

const STEP = 50_000;
