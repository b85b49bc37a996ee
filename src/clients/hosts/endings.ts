import { TaskError } from '../../errors.ts';
import { UpstreamRefusal } from '../upstream.ts';
import type { CallEnding } from './slots.ts';

/** Whether another host may do what this one did not. */
export function mayMoveOn(error: TaskError): boolean {
  return error.later || error.outage !== undefined || error.code === 'model_unavailable';
}

/** What it tells of the room that the host has. */
export function endingOf(error: unknown): CallEnding {
  const said = error instanceof TaskError ? error.cause : undefined;
  return said instanceof UpstreamRefusal && (said.status === 503 || said.status === 429) ? 'full' : 'other';
}
