import * as v from 'valibot';
import { addresses, integer, origins, setting } from './setting.ts';

/** The environment variables about who may ask for how much, and from where; a part of the table in `settings.ts`. */
export const LIMIT_SETTINGS = {
  TRUSTED_PROXIES: setting(
    'HTTP',
    v.optional(addresses, ''),
    'the proxies whose X-Forwarded-For is believed (addresses and CIDRs, separated by commas); none when empty',
    { example: '10.1.2.0/24' },
  ),
  CORS_ORIGINS: setting(
    'HTTP',
    v.optional(origins, ''),
    'origins whose pages may call the API from a browser, separated by commas; none when empty',
    { example: 'https://app.example.com' },
  ),
  MAX_CONNECTIONS_PER_ADDRESS: setting(
    'Limits',
    v.optional(integer(0, 1_000_000), '20000'),
    'connections one address (of IPv6, a /64) may hold, TRUSTED_PROXIES apart; far less where clients connect directly; 0 is no limit',
  ),
  MAX_STREAMS: setting(
    'Limits',
    v.optional(integer(0, 1_000_000), '5000'),
    'event streams that a process keeps open at a time; 0 is no limit',
  ),
  MAX_STREAMS_PER_USER: setting(
    'Limits',
    v.optional(integer(0, 1_000_000), '1000'),
    'those of them that one user may have; 0 is no limit',
  ),
  MAX_FILE_BYTES: setting(
    'Limits',
    v.optional(integer(1024, 10_737_418_240), '104857600'),
    'the largest file that may be uploaded',
  ),
  MAX_STORED_BYTES_PER_USER: setting(
    'Limits',
    v.optional(integer(0, 999_999_999_999), '1073741824'),
    'bytes that the files of a user may have together; 0 is no limit',
  ),
  MAX_BATCH_LINES: setting(
    'Limits',
    v.optional(integer(1, 1_000_000), '50000'),
    'lines that a batch of /v1/batches may have',
  ),
  BATCH_WINDOW: setting(
    'Limits',
    v.optional(integer(1, 100_000), '1000'),
    'tasks of a batch that wait and run at a time; its other lines come after them',
  ),
  WORKFLOW_WINDOW: setting(
    'Limits',
    v.optional(integer(1, 10_000), '200'),
    'tasks of a workflow that wait and run at a time; its other steps come after them',
  ),
  RATE_LIMIT_PER_MINUTE: setting(
    'Limits',
    v.optional(integer(0, 10_000_000), '1200'),
    'requests a user may send in a minute, over all processes; 0 is no limit',
  ),
  AUTH_RATE_LIMIT_PER_MINUTE: setting(
    'Limits',
    v.optional(integer(0, 1_000_000), '30'),
    'logins, registrations and refreshes, and in each process API keys that are not good, from one address (of IPv6, a /64) in a minute; 0 is no limit',
  ),
  MAX_WAITING_TASKS_PER_USER: setting(
    'Limits',
    v.optional(integer(0, 100_000_000), '100000'),
    'tasks of a user that may wait at a time, scheduled ones included; 0 is no limit',
  ),
  MAX_SCHEDULES_PER_USER: setting(
    'Limits',
    v.optional(integer(0, 1_000_000), '100'),
    'schedules a user may have; 0 is no limit',
  ),
  MAX_WORKFLOWS_PER_USER: setting(
    'Limits',
    v.optional(integer(0, 1_000_000), '1000'),
    'stored workflows a user may have; 0 is no limit',
  ),
  MAX_COLLECTIONS_PER_USER: setting(
    'Limits',
    v.optional(integer(0, 1_000_000), '100'),
    'collections of vectors a user may have; 0 is no limit',
  ),
  MAX_DOCUMENTS_PER_USER: setting(
    'Limits',
    v.optional(integer(0, 100_000_000), '10000'),
    'documents a user may have, in all collections; 0 is no limit',
  ),
  MAX_POINTS_PER_USER: setting(
    'Limits',
    v.optional(integer(0, 2_147_483_647), '1000000'),
    'points a user may have in the vector store, where a chunk of a document has up to four; 0 is no limit',
  ),
  MAX_WEBHOOKS_PER_USER: setting(
    'Limits',
    v.optional(integer(0, 10_000), '20'),
    'webhooks a user may have, those that tasks name themselves apart; 0 is no limit',
  ),
  MAX_AGENTS_PER_USER: setting(
    'Limits',
    v.optional(integer(0, 1_000_000), '100'),
    'agents a user may have, those of everybody apart; 0 is no limit',
  ),
  WEBHOOK_SECRET_OVERLAP_HOURS: setting(
    'Limits',
    v.optional(integer(0, 720), '24'),
    'how long the old secret of a webhook signs too after it was rotated; 0 ends it at once',
  ),
  MAX_RUNNING_TASKS_PER_USER: setting(
    'Limits',
    v.optional(integer(0, 1_000_000), '0'),
    'tasks of a user that run at a time, over all workers; the others wait; 0 is no limit',
  ),
  MAX_TOKENS_PER_DAY_PER_USER: setting(
    'Limits',
    v.optional(integer(0, 2_147_483_647), '0'),
    'tokens of models, read and written, that the tasks of a user may take in a day of UTC; 0 is no limit',
  ),
} as const;
