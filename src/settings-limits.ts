import * as v from 'valibot';
import { addresses, setting } from './setting.ts';

/** The environment variables about who may ask for how much, and from where; a part of the table in `settings.ts`. */
export const LIMIT_SETTINGS = {
  TRUSTED_PROXIES: setting(
    'HTTP',
    v.optional(addresses, ''),
    'the proxies whose X-Forwarded-For is believed (addresses and CIDRs, separated by commas); none when empty',
    { example: '10.1.2.0/24' },
  ),
} as const;
