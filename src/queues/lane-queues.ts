import { within } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import { LANES, type Lane } from '../tasks/lanes.ts';
import type { LaneQueue } from './backend.ts';

export const CALL_TIMEOUT_MS = 3_000;
const CLOSE_TIMEOUT_MS = 300;

/** How many ids a walk over the jobs of a lane asks for at a time. */
export const JOBS_A_PAGE = 1_000;

/** One queue a lane. */
export function openQueues(open: (lane: Lane) => LaneQueue, log: Logger): Record<Lane, LaneQueue> {
  const queues = Object.fromEntries(LANES.map((lane) => [lane, open(lane)])) as Record<Lane, LaneQueue>;
  for (const lane of LANES) queues[lane].on('error', (error) => log.debug({ err: error, lane }, 'queue error'));
  return queues;
}

/** BullMQ's own close waits for ever while its store is away. */
export async function closeQueues(queues: LaneQueue[]): Promise<void> {
  await Promise.all(queues.map((queue) => within(queue.close(), CLOSE_TIMEOUT_MS, 'closing a queue').catch(() => {})));
}
