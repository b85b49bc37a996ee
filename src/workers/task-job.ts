import { UnrecoverableError, WaitingError } from 'bullmq';
import type { Claim } from '../db/tasks/run.ts';
import { within } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { LaneJob, QueueBackend } from '../queues/backend.ts';
import type { Dispatcher } from '../queues/dispatcher.ts';
import type { Lane } from '../tasks/lanes.ts';
import { RetryLater } from './bullmq.ts';
import { type RunContext, runTask } from './run.ts';
import type { Window } from './window.ts';

interface Options {
  context: RunContext;
  /** Where a lane has one, it says which task a slot is for. */
  windows: ReadonlyMap<Lane, Window>;
  backend: Pick<QueueBackend, 'putBack'>;
  dispatcher: Pick<Dispatcher, 'remove'>;
  /** The lock of the job is not to be renewed any more. */
  release: (job: LaneJob, token: string) => void;
  log: Logger;
}

/** After a task whose dependency is away: an outage must not turn over the whole backlog as fast as it can be claimed. */
const TURNED_AWAY_MS = 200;
const PUT_BACK_MS = 2_000;

/** Makes what does the work of a task's job: it runs its task, or in its place another one that goes before. */
export function createTaskJobs(options: Options): (job: LaneJob, token: string) => Promise<void> {
  const { context, windows, backend, dispatcher, release, log } = options;

  async function putBack(job: LaneJob, token: string): Promise<void> {
    release(job, token);
    // Where that fails, its lock runs out, and it counts as stalled.
    await within(backend.putBack(job, token), PUT_BACK_MS, 'putting a job back').catch((error) =>
      log.debug({ err: error, job: job.id }, 'a job could not be put back'),
    );
  }

  async function run(task: Claim, lane: Lane, early: boolean): Promise<void> {
    const result = await runTask({ ...task, early }, context);
    // As BullMQ drops a job whose claim finds nothing.
    if (result.kind === 'dropped' && early) await dispatcher.remove({ ...task, lane });
    if (result.kind === 'retry' && result.turnedAway)
      await new Promise((resolve) => setTimeout(resolve, TURNED_AWAY_MS));
    if (early) throw new WaitingError('it waits for its turn');
    if (result.kind === 'failed') throw new UnrecoverableError(result.error.code);
    if (result.kind === 'retry') throw new RetryLater(result.error.code, result.delayMs);
  }

  return async (job, token) => {
    const { id, generation } = job.data;
    const lane = job.queueName as Lane;
    const window = windows.get(lane);
    if (!window) return run({ id, generation }, lane, false);

    const head = { id, generation, turn: job.priority, since: job.timestamp };
    const chosen = await window.choose(head);
    if (chosen?.id === id) return run(chosen, lane, false).finally(() => window.done(chosen));
    // At once, so that any other worker may take it.
    await putBack(job, token);
    window.isBack(head);
    if (chosen) return run(chosen, lane, true).finally(() => window.done(chosen));
    await window.change();
    throw new WaitingError('no host has room');
  };
}
