import type { Deliver } from '../webhooks/deliver.ts';
import { RetryLater } from './bullmq.ts';
import type { Pulse } from './pulse.ts';

interface Options {
  deliver: Deliver;
  signal: AbortSignal;
  /** What was taken and not settled so far. */
  owed: Set<string>;
  pulse: Pulse | undefined;
  /** As of the tasks of a worker. */
  ended: (id: string, known: boolean) => void;
  onError: (error: unknown) => void;
}

/** Makes what does the work of a delivery's job. */
export function createDeliveryJobs({ deliver, signal, owed, pulse, ended, onError }: Options) {
  return async function runDelivery({ id, generation }: Parameters<Deliver>[0]): Promise<void> {
    owed.add(id);
    pulse?.started(id, 'webhook');
    let known = false;
    try {
      const again = await deliver({ id, generation }, signal);
      known = true;
      pulse?.ended(id, again ? 'failed' : 'completed');
      if (again) throw new RetryLater('the delivery is tried again', again.retryInMs);
    } catch (error) {
      if (!known) onError(error);
      throw error;
    } finally {
      ended(id, known);
    }
  };
}
