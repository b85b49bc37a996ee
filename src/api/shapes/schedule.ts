import * as v from 'valibot';
import { CATCH_UPS, CONCURRENCY_POLICIES } from '../../db/schema.ts';
import { named, sentId, sentTime } from '../../tasks/named.ts';

const scheduled = v.strictObject({
  type: v.string(),
  input: v.unknown(),
  title: v.optional(v.string()),
  priority: v.number(),
  metadata: v.record(v.string(), v.unknown()),
  tags: v.array(v.string()),
  agent_id: v.optional(v.string()),
  concurrency_key: v.optional(
    v.strictObject({ key: v.string(), limit: v.number(), policy: v.picklist(CONCURRENCY_POLICIES) }),
  ),
  expires_in_seconds: v.optional(v.number()),
  timeout_seconds: v.optional(v.number()),
  max_attempts: v.optional(v.number()),
  webhook: v.optional(v.strictObject({ url: v.string(), events: v.array(v.string()) })),
});

const fields = {
  id: sentId,
  name: v.nullable(v.string()),
  cron: v.nullable(v.string()),
  every_seconds: v.nullable(v.number()),
  timezone: v.string(),
  enabled: v.boolean(),
  catch_up: v.picklist(CATCH_UPS),
  task: v.pipe(scheduled, v.description('The submission, without the secret of its webhook.')),
  next_run_at: v.nullable(sentTime),
  next_runs: v.pipe(v.array(sentTime), v.description('The next few; none while it is switched off.')),
  last_run_at: v.nullable(
    v.pipe(sentTime, v.description('The tick for which the last task was started, which has it as `scheduled_for`.')),
  ),
  last_task_id: v.nullable(sentId),
  last_error: v.nullable(
    v.pipe(
      v.strictObject({ code: v.string(), message: v.string(), at: v.string() }),
      v.description('Why the last tick started no task; null where it did.'),
    ),
  ),
  missed: v.pipe(v.number(), v.integer(), v.description('Ticks for which no task was started.')),
  user_id: sentId,
  created_at: sentTime,
  updated_at: sentTime,
  urls: v.strictObject({ self: v.string(), run: v.string() }),
};

/** A schedule, as its owner sees it. */
export const schedule = named('Schedule', v.strictObject(fields));

/** The same in an answer that made a secret. */
export const newSchedule = named(
  'NewSchedule',
  v.strictObject({
    ...fields,
    webhook_secret: v.optional(
      v.pipe(v.string(), v.description('The secret that was made for the webhook; shown in this answer alone.')),
    ),
  }),
);

const SELF = 'http://127.0.0.1:3000/api/v1/schedules/0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e20';

export const scheduleExample: v.InferInput<typeof schedule> = {
  id: '0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e20',
  name: 'nightly',
  cron: '30 2 * * *',
  every_seconds: null,
  timezone: 'Europe/Berlin',
  enabled: true,
  catch_up: 'one',
  task: { type: 'echo', input: { message: 'hello' }, priority: 5, metadata: {}, tags: ['nightly'] },
  next_run_at: '2030-02-01T01:30:00.000Z',
  next_runs: ['2030-02-01T01:30:00.000Z', '2030-02-02T01:30:00.000Z', '2030-02-03T01:30:00.000Z'],
  last_run_at: '2030-01-31T01:30:00.000Z',
  last_task_id: '0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e10',
  last_error: null,
  missed: 0,
  user_id: '0199a5c0-1c52-7d0f-8a77-5b2e9d3c4f01',
  created_at: '2030-01-01T12:00:00.000Z',
  updated_at: '2030-01-01T12:00:00.000Z',
  urls: { self: SELF, run: `${SELF}/run` },
};
