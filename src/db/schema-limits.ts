import type { ColumnType } from 'kysely';
import type { GeneratedTime } from './columns.ts';

/** What a user may use; `null` stands for what everybody has, 0 for no limit. */
export interface UserLimitTable {
  user_id: string;
  /** Tasks that may wait, scheduled ones included. */
  waiting_tasks: number | null;
  running_tasks: number | null;
  /** Tokens of models, read and written, in a day of UTC. */
  tokens_per_day: number | null;
  requests_per_minute: number | null;
}

/** The tokens that the tasks of a user took on one day of UTC. */
export interface TokenUsageTable {
  user_id: string;
  day: ColumnType<string, string, string>;
  /** Postgres gives a `bigint` as text. */
  tokens: ColumnType<string, number | string, number | string>;
}

/** Logins that failed one after the other; `target` is a hash of the account and of where they came from. */
export interface LoginFailureTable {
  target: Buffer;
  failures: number;
  last_at: GeneratedTime;
}

/** Requests in the present minute, counted in minutes since 1970. */
export interface RequestCountTable {
  subject: string;
  minute: number;
  requests: number;
}
