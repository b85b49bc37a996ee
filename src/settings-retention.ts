import * as v from 'valibot';
import { integer, setting } from './setting.ts';

const days = (count: string, what: string) =>
  setting('Retention', v.optional(integer(0, 36_500), count), `days after which ${what}`);

/** The environment variables about how long what has ended is kept; a part of the table in `settings.ts`. */
export const RETENTION_SETTINGS = {
  RETENTION_COMPLETED_DAYS: days(
    '30',
    'completed tasks are deleted, with attempts and deliveries; 0 keeps them for ever',
  ),
  RETENTION_FAILED_DAYS: days('90', 'failed tasks are deleted; 0 keeps them for ever'),
  RETENTION_CANCELLED_DAYS: days('30', 'cancelled tasks are deleted; 0 keeps them for ever'),
  RETENTION_EXPIRED_DAYS: days('30', 'expired tasks are deleted; 0 keeps them for ever'),
  RETENTION_PAYLOAD_DAYS: days(
    '0',
    'what is in an ended task is deleted (input, output, metadata …), where it is kept longer itself; 0 keeps it with the task',
  ),
} as const;
