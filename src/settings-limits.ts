import * as v from 'valibot';
import { addresses, integer, setting } from './setting.ts';

/** The environment variables about who may ask for how much, and from where; a part of the table in `settings.ts`. */
export const LIMIT_SETTINGS = {
  TRUSTED_PROXIES: setting(
    'HTTP',
    v.optional(addresses, ''),
    'the proxies whose X-Forwarded-For is believed (addresses and CIDRs, separated by commas); none when empty',
    { example: '10.1.2.0/24' },
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
    v.optional(integer(0, 100_000_000), '10000'),
    'tasks of a user that may wait at a time, scheduled ones included; 0 is no limit',
  ),
} as const;
