import { isIP } from 'node:net';
import type { Values } from './read-settings.ts';

/** The Redis that the variables name: its URL with user and password, where there is one, and how it is reached. */
export function redisOf(s: Values, problems: string[]) {
  const addresses = s.REDIS_SENTINELS;
  if (addresses && s.REDIS_URL)
    problems.push(
      'REDIS_URL and REDIS_SENTINELS are both set: with Sentinels, user, password and TLS are REDIS_USERNAME, REDIS_PASSWORD and REDIS_TLS',
    );
  const [first] = addresses ?? (s.REDIS_HOST ? [{ host: s.REDIS_HOST, port: s.REDIS_PORT }] : []);
  const redisUrl = s.REDIS_URL ?? (first && urlOf(first, s));
  if (s.REDIS_CA_FILE && redisUrl && !redisUrl.startsWith('rediss:'))
    problems.push(
      'REDIS_CA_FILE is set, but Redis is not asked over TLS: set REDIS_TLS=true, or REDIS_URL to rediss://…',
    );
  const [name, password] = [s.REDIS_SENTINEL_NAME, s.REDIS_SENTINEL_PASSWORD];
  return { redisUrl, redis: { caFile: s.REDIS_CA_FILE, sentinels: addresses && { addresses, name, password } } };
}

function urlOf({ host, port }: { host: string; port: number }, s: Values): string {
  const url = new URL(`${s.REDIS_TLS ? 'rediss' : 'redis'}://${inUrl(host)}:${port}`);
  if (s.REDIS_USERNAME) url.username = encodeURIComponent(s.REDIS_USERNAME);
  if (s.REDIS_PASSWORD) url.password = encodeURIComponent(s.REDIS_PASSWORD);
  return url.href;
}

/** A host as it stands in a URL: an IPv6 address in brackets. */
export function inUrl(host = ''): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}
