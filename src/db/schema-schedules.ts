import type { ColumnType } from 'kysely';
import type { GeneratedTime, Json, NullableJson, NullableTime, Time } from './columns.ts';

export const CATCH_UPS = ['one', 'skip'] as const;

/** A task that is submitted again and again; `cron` or `every_seconds` says when. */
export interface ScheduleTable {
  id: string;
  user_id: string;
  name: string | null;
  cron: string | null;
  every_seconds: number | null;
  timezone: string;
  enabled: boolean;
  catch_up: (typeof CATCH_UPS)[number];
  /** The submission, without the secret of its webhook. */
  task: Json<Record<string, unknown>>;
  /** Sealed. */
  webhook_secret: Buffer | null;
  /** From where `every_seconds` is counted. */
  starts_at: Time;
  /** The next tick, or a past one that nobody has looked at so far; `null` where none comes any more. */
  next_run_at: NullableTime;
  /** The tick for which the last task was started. */
  last_run_at: NullableTime;
  last_task_id: string | null;
  /** Why the last tick started no task. */
  last_error: NullableJson<{ code: string; message: string; at: string }>;
  /** Ticks for which no task was started. */
  missed: ColumnType<number, number | undefined, number>;
  created_at: GeneratedTime;
  updated_at: GeneratedTime;
}
