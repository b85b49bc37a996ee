import { type Listing, listing, type PageQuery } from './pages.ts';
import type { Call, CallOptions, Transport } from './transport.ts';
import type { NewTask, Task, TaskOptions, TypeName } from './types.ts';

/** When a task is submitted again and again: by cron, or every so many seconds. */
export interface Schedule {
  id: string;
  name: string | null;
  cron: string | null;
  every_seconds: number | null;
  timezone: string;
  enabled: boolean;
  /** What becomes of ticks that were missed: one task for all of them, or none. */
  catch_up: 'one' | 'skip';
  /** The submission, without the secret of its webhook. */
  task: { type: string; input: unknown } & TaskOptions;
  next_run_at: string | null;
  next_runs: string[];
  last_run_at: string | null;
  last_task_id: string | null;
  last_error: { code: string; message: string; at: string } | null;
  missed: number;
  user_id: string;
  created_at: string;
  updated_at: string;
}

type Repeated<T extends TypeName> = Omit<NewTask<T>, 'scheduled_for' | 'delay_seconds'>;

/** One of `cron` (5 or 6 fields) and `every_seconds`. */
export interface NewSchedule<T extends TypeName = TypeName> {
  name?: string | null;
  cron?: string;
  every_seconds?: number;
  /** An IANA zone, such as `Europe/Berlin`; UTC where it is not said. */
  timezone?: string;
  enabled?: boolean;
  catch_up?: Schedule['catch_up'];
  task: Repeated<T>;
}

type Made = Schedule & { webhook_secret?: string };
type Create = CallOptions & { idempotencyKey?: string };

/** The calls for schedules. */
export function scheduleCalls(transport: Transport) {
  const path = (id: string, below = '') => `/api/v1/schedules/${encodeURIComponent(id)}${below}`;
  const send = async <T>(call: Call) => (await transport.send<T>(call)).body;

  return {
    list: (query: PageQuery = {}, options?: CallOptions): Listing<Schedule> =>
      listing<Schedule>(transport, '/api/v1/schedules', { ...query }, options),

    create: <T extends TypeName>(schedule: NewSchedule<T>, options: Create = {}) =>
      send<Made>({ method: 'POST', path: '/api/v1/schedules', body: schedule, creates: true, ...options }),

    get: (id: string, options: CallOptions = {}) => send<Schedule>({ method: 'GET', path: path(id), ...options }),

    update: (id: string, changes: Partial<NewSchedule>, options: CallOptions = {}) =>
      send<Made>({ method: 'PATCH', path: path(id), body: changes, ...options }),

    /** The tasks that it has started stay. */
    delete: (id: string, options: CallOptions = {}) => send<void>({ method: 'DELETE', path: path(id), ...options }),

    /** Starts its task now, beside its ticks. */
    run: (id: string, options: Create = {}) =>
      send<Task>({ method: 'POST', path: path(id, '/run'), creates: true, ...options }),
  };
}
