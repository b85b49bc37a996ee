import { ENDED, type Status } from '../../src/db/schema.ts';
import { KILL_BUDGET } from '../../src/db/tasks/repair.ts';

/** What a task should be after the same steps, said in plain words. */
export interface Model {
  id: string;
  status: Status;
  attempt: number;
  generation: number;
  failures: number;
  losses: number;
  /** Whether it runs and nobody holds it; how often it was signalled, and how often its attempt knew of when it was claimed. */
  parked: boolean;
  signals: number;
  knew: number;
  output: string | null;
  progress: { percent: number; message: null } | null;
  /** Whether its time has come. */
  due: boolean;
  /** How each attempt that ended did. */
  ledger: string[];
  ends: number;
}

/** How a worker may say that an attempt ended, and what it then hands in. */
export const ENDINGS = {
  complete: { status: 'completed', outcome: 'completed', delay_ms: 0, new_job: false },
  fail: { status: 'failed', outcome: 'failed', delay_ms: 0, new_job: false },
  stop: { status: 'cancelled', outcome: 'cancelled', delay_ms: 0, new_job: false },
  retryNow: { status: 'pending', outcome: 'retry', delay_ms: 0, new_job: false },
  retryLater: { status: 'pending', outcome: 'retry', delay_ms: 3_600_000, new_job: false },
  park: { status: 'running', outcome: 'parked', delay_ms: 0, new_job: false },
  release: { status: 'pending', outcome: 'released', delay_ms: 0, new_job: true },
} as const;
export type Ending = keyof typeof ENDINGS;

const oneOf = (model: Model, ...statuses: Status[]) => statuses.includes(model.status);
const waits = (model: Model) => oneOf(model, 'scheduled', 'pending');
const isHeld = (model: Model) => oneOf(model, 'running', 'cancelling') && !model.parked;

function end(model: Model, status: Status): void {
  model.status = status;
  model.parked = false;
  model.ends++;
}

function wake(model: Model): boolean {
  if (!model.parked) return false;
  Object.assign(model, { status: 'pending', generation: model.generation + 1, parked: false, due: true });
  return true;
}

/** A task as it was accepted. */
export function acceptedModel(id: string, later: boolean): Model {
  return {
    id,
    status: later ? 'scheduled' : 'pending',
    attempt: 0,
    generation: 0,
    failures: 0,
    losses: 0,
    parked: false,
    signals: 0,
    knew: 0,
    output: null,
    progress: null,
    due: !later,
    ledger: [],
    ends: 0,
  };
}

/** What each statement does to a task; they answer whether it does anything. */
export const MODEL = {
  claim(model: Model, generation: number): boolean {
    if (!waits(model) || !model.due || generation !== model.generation) return false;
    Object.assign(model, { status: 'running', attempt: model.attempt + 1, progress: null, knew: model.signals });
    return true;
  },

  renew: (model: Model, attempt: number): boolean => attempt === model.attempt && isHeld(model),

  progress(model: Model, attempt: number, percent: number): boolean {
    if (attempt !== model.attempt || !isHeld(model) || model.status !== 'running') return false;
    model.progress = { percent, message: null };
    return true;
  },

  settle(model: Model, attempt: number, how: Ending): boolean {
    if (attempt !== model.attempt || !isHeld(model)) return false;
    const { status, outcome, delay_ms, new_job } = ENDINGS[how];
    const cancelled = model.status === 'cancelling';
    model.ledger.push(cancelled ? 'cancelled' : outcome);
    if (outcome === 'retry' || outcome === 'failed') model.failures++;
    if (status === 'pending') model.due = delay_ms === 0;
    if (how === 'park' && !cancelled) {
      model.losses = 0;
      // Who was signalled since it was claimed does not wait.
      if (model.signals === model.knew) model.parked = true;
      else Object.assign(model, { status: 'pending', generation: model.generation + 1, due: true });
      return true;
    }
    model.progress = status === 'completed' && !cancelled && model.progress ? { percent: 100, message: null } : null;
    model.output = status === 'completed' && !cancelled ? `by ${attempt}` : null;
    if (cancelled) end(model, 'cancelled');
    else if (status === 'pending') model.status = 'pending';
    else end(model, status);
    if (new_job && !cancelled) model.generation++;
    return true;
  },

  cancel(model: Model): boolean {
    if (waits(model)) end(model, 'cancelled');
    else if (model.parked) end(model, 'cancelled');
    else if (model.status === 'running') model.status = 'cancelling';
    else return false;
    return true;
  },

  retry(model: Model): boolean {
    if (!(ENDED as readonly Status[]).includes(model.status)) return false;
    const fresh = { failures: 0, losses: 0, output: null, progress: null, due: true };
    Object.assign(model, { status: 'pending', generation: model.generation + 1, ...fresh });
    return true;
  },

  /** Somebody has something for it; answers whether it goes on. */
  signal(model: Model): boolean {
    if ((ENDED as readonly Status[]).includes(model.status)) return false;
    model.signals++;
    return wake(model);
  },

  /** It has waited as long as it may. */
  late: (model: Model): boolean => wake(model),

  /** Its lease ran out. */
  rescue(model: Model): boolean {
    if (!isHeld(model)) return false;
    model.ledger.push('lost');
    const cancelled = model.status === 'cancelling';
    Object.assign(model, { losses: model.losses + 1, generation: model.generation + 1, progress: null, due: true });
    if (cancelled) end(model, 'cancelled');
    else if (model.losses >= KILL_BUDGET) end(model, 'failed');
    else model.status = 'pending';
    return true;
  },

  /** Its deadline has come. */
  expire(model: Model): boolean {
    if (waits(model)) end(model, model.attempt === 0 ? 'expired' : 'cancelled');
    else if (model.parked) end(model, 'cancelled');
    else if (model.status === 'running') model.status = 'cancelling';
    else return false;
    return true;
  },

  /** Its time has come. */
  fallDue(model: Model): boolean {
    if (!waits(model)) return false;
    model.due = true;
    return true;
  },

  promote(model: Model): boolean {
    if (model.status !== 'scheduled' || !model.due) return false;
    model.status = 'pending';
    return true;
  },

  /** Its job was found spent. */
  rebuild(model: Model, generation: number): boolean {
    if (!waits(model) || generation !== model.generation) return false;
    model.generation++;
    return true;
  },
};
