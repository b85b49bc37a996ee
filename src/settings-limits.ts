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
  RATE_LIMIT_PER_MINUTE: setting(
    'Limits',
    v.optional(integer(0, 10_000_000), '1200'),
    'requests a user may send in a minute, over all processes; 0 is no limit',
  ),
  AUTH_RATE_LIMIT_PER_MINUTE: setting(
    'Limits',
    v.optional(integer(0, 1_000_000), '30'),
    'logins, registrations and refreshes from one address (of IPv6, a /64) in a minute; 0 is no limit',
  ),
  MAX_WAITING_TASKS_PER_USER: setting(
    'Limits',
    v.optional(integer(0, 100_000_000), '100000'),
    'tasks of a user that may wait at a time, scheduled ones included; 0 is no limit',
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
