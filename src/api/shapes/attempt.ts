import * as v from 'valibot';
import type { AttemptRow } from '../../db/tasks/read.ts';
import { named, sentTime } from '../../tasks/named.ts';
import type { Same } from '../answer.ts';
import { taskError, usage } from './task.ts';

/** One attempt of a task that has ended. */
export const attempt = named(
  'Attempt',
  v.strictObject({
    attempt: v.pipe(v.number(), v.integer()),
    outcome: v.picklist(['completed', 'failed', 'retry', 'released', 'cancelled', 'lost', 'parked']),
    worker: v.nullable(v.string()),
    model: v.nullable(v.string()),
    model_digest: v.pipe(v.nullable(v.string()), v.description('Which model it was, whatever its name means now.')),
    host: v.pipe(v.nullable(v.string()), v.description('What the model host is called that ran it.')),
    usage: v.nullable(usage),
    error: v.nullable(taskError),
    started_at: v.nullable(sentTime),
    ended_at: sentTime,
  }),
);

true satisfies Same<Omit<AttemptRow, 'task_id'>, v.InferOutput<typeof attempt>>;

export const attemptExample: v.InferInput<typeof attempt> = {
  attempt: 1,
  outcome: 'completed',
  worker: 'worker-1',
  model: 'tinyllama:latest',
  model_digest: '2644915ede35',
  host: 'host-1',
  usage: { input_tokens: 12, output_tokens: 48, load_ms: 0, run_ms: 910 },
  error: null,
  started_at: '2030-01-31T12:00:00.010Z',
  ended_at: '2030-01-31T12:00:00.925Z',
};
