import * as v from 'valibot';
import { flag, host, hostPorts, integer, optionalText, setting, text, url } from './setting.ts';

/** The environment variables about the Redis of BullMQ; a part of the table in `settings.ts`. */
export const REDIS_SETTINGS = {
  REDIS_URL: setting(
    'Queues',
    v.optional(url(['redis:', 'rediss:'], 'redis://127.0.0.1:6379')),
    'a Redis (6.2 or newer, noeviction) for BullMQ; rediss:// speaks TLS',
    { secret: true, example: 'redis://127.0.0.1:6379' },
  ),
  REDIS_HOST: setting('Queues', v.optional(host), 'used with REDIS_PORT where REDIS_URL is empty', {
    example: 'sutazai-redis',
  }),
  REDIS_PORT: setting('Queues', v.optional(integer(1, 65535), '6379'), 'the port of REDIS_HOST'),
  REDIS_SENTINELS: setting(
    'Queues',
    v.optional(hostPorts),
    'the Sentinels that know which Redis is the primary, separated by commas; in the place of REDIS_URL and REDIS_HOST',
    { example: 'sentinel-1:26379,sentinel-2:26379,sentinel-3:26379' },
  ),
  REDIS_SENTINEL_NAME: setting('Queues', v.optional(text, 'mymaster'), 'what the Sentinels call the primary'),
  REDIS_SENTINEL_PASSWORD: setting('Queues', optionalText, 'the password of the Sentinels themselves', {
    secret: true,
  }),
  REDIS_USERNAME: setting(
    'Queues',
    optionalText,
    'the user of Redis, where REDIS_URL is empty; its default one when empty',
    {
      example: 'sutazai',
    },
  ),
  REDIS_PASSWORD: setting('Queues', optionalText, 'the password of Redis, where REDIS_URL is empty', { secret: true }),
  REDIS_TLS: setting(
    'Queues',
    v.optional(flag, 'false'),
    'true speaks TLS with REDIS_HOST, or with the Sentinels and what they name',
  ),
  REDIS_CA_FILE: setting(
    'Queues',
    optionalText,
    'a file with the certificate (PEM) of the authority that signed those of Redis and the Sentinels, where it is none of the usual ones',
    { example: '/etc/ssl/redis-ca.pem' },
  ),
} as const;
