import { isIP } from 'node:net';
import * as v from 'valibot';
import { LANES } from './tasks/lanes.ts';

/** One environment variable: how it is checked, what it is for, and what `.env.example` shows. */
export interface Setting<S extends v.GenericSchema<string | undefined, unknown>> {
  schema: S;
  help: string;
  group: string;
  /** Never printed; may also be given as a file through `<NAME>_FILE`. */
  secret?: true;
  /** What `.env.example` shows where there is no default. */
  example?: string;
}

export const text = v.pipe(v.string(), v.trim(), v.nonEmpty('must not be empty'));
export const optionalText = v.optional(text);

export function oneOf<const T extends readonly [string, ...string[]]>(words: T) {
  return v.picklist(words, `wants one of ${words.join(', ')}`);
}

export function integer(min: number, max: number) {
  const wants = `wants a whole number from ${min} to ${max}`;
  return v.pipe(
    v.string(),
    v.regex(/^\d{1,12}$/, wants),
    v.transform(Number),
    v.minValue(min, wants),
    v.maxValue(max, wants),
  );
}

export const flag = v.pipe(
  v.string(),
  v.toLowerCase(),
  oneOf(['true', 'false', '1', '0', 'yes', 'no', 'on', 'off']),
  v.transform((word) => ['true', '1', 'yes', 'on'].includes(word)),
);

export const list = v.pipe(
  v.string(),
  v.transform((all) =>
    all
      .split(',')
      .map((one) => one.trim())
      .filter(Boolean),
  ),
);

export function url(protocols: string[], example: string) {
  return v.pipe(
    v.string(),
    v.check(
      (given) => /:\/\/./.test(given) && URL.canParse(given) && protocols.includes(new URL(given).protocol),
      `wants a URL such as ${example}`,
    ),
  );
}

/** The address of a server, to which paths are added: without a user, a query or a fragment. */
export function baseUrl(example: string) {
  return v.pipe(
    url(['http:', 'https:'], example),
    v.check((given) => {
      // What is no URL at all is named by the check before.
      const { username, password } = URL.parse(given) ?? { username: '', password: '' };
      return username === '' && password === '' && !/[?#]/.test(given);
    }, `wants an address alone, such as ${example}: no user, no query and no fragment`),
  );
}

/** A host name or an address, without a port: what stands between `//` and `:` of a URL. */
export const host = v.pipe(
  text,
  v.check(
    (given) => isIP(given) === 6 || /^[a-zA-Z0-9_]([a-zA-Z0-9_.-]*[a-zA-Z0-9_])?$/.test(given),
    'wants a host name or an address',
  ),
);

/** Hosts, each with a port of its own. */
export const hostPorts = v.pipe(
  list,
  v.check(
    (entries) => entries.length > 0 && entries.every((entry) => addressOf(entry) !== undefined),
    'wants host:port, or several of them with commas between; an IPv6 address stands in brackets',
  ),
  v.transform((entries) => entries.map((entry) => addressOf(entry) as { host: string; port: number })),
);

function addressOf(entry: string): { host: string; port: number } | undefined {
  const [, six, name = six, port] = /^(?:\[(.+)\]|([^:]+)):(\d{1,5})$/.exec(entry) ?? [];
  return v.is(host, name) && Number(port) > 0 && Number(port) <= 65535 ? { host: name, port: Number(port) } : undefined;
}

/** Origins as browsers send them, separated by commas. */
export const origins = v.pipe(
  list,
  v.check(
    (entries) =>
      entries.every((entry) => URL.canParse(entry) && new URL(entry).origin === entry && !entry.includes('*')),
    'wants origins such as https://app.example.com, separated by commas: scheme, host and port alone',
  ),
);

/** Addresses and CIDRs, separated by commas. */
export const addresses = v.pipe(
  list,
  v.check(
    (entries) => entries.every((entry) => isIP(entry.split('/')[0] ?? '') !== 0 && isNetwork(entry)),
    'wants addresses and CIDRs such as 10.1.2.0/24, separated by commas',
  ),
);

/** Addresses, CIDRs and host names, separated by commas. */
export const networks = v.pipe(
  list,
  v.check((entries) => entries.every(isNetwork), 'wants addresses, CIDRs such as 10.1.2.0/24, or host names'),
);

function isNetwork(entry: string): boolean {
  const [address = '', bits, ...rest] = entry.split('/');
  const version = isIP(address);
  if (version === 0) return v.is(host, entry) && !/^[\d.]+$/.test(entry);
  if (bits === undefined) return true;
  return rest.length === 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128);
}

export const secretKey = v.pipe(
  v.string(),
  v.check(
    (given) => Buffer.byteLength(given) >= 32,
    'wants at least 32 bytes; make one with `openssl rand -base64 32`',
  ),
);

export const encryptionKey = v.pipe(
  v.string(),
  v.check(
    (given) => Buffer.from(given, 'base64').length === 32,
    'wants 32 bytes in base64; make one with `openssl rand -base64 32`',
  ),
);

export const ollamaHosts = v.pipe(
  list,
  v.transform((hosts) => hosts.map((host) => ollamaUrl(host).replace(/\/$/, ''))),
  v.check(
    (hosts) =>
      hosts.length > 0 && hosts.every((host) => URL.canParse(host) && /^https?:$/.test(new URL(host).protocol)),
    'wants host:port or a URL, or several of them with commas between',
  ),
  v.check((hosts) => new Set(hosts).size === hosts.length, 'wants each host once'),
);

/** As Ollama itself reads it: a URL is taken as it is, and a host that names no port has the one of Ollama. */
function ollamaUrl(given: string): string {
  if (given.includes('://')) return given;
  const [, host = '', path = ''] = /^([^/]*)(.*)$/.exec(given) ?? [];
  const name = isIP(host) === 6 ? `[${host}]` : host;
  return `http://${name}${/:\d+$/.test(name) ? '' : ':11434'}${path}`;
}

const ROLES = ['viewer', 'user', 'operator', 'admin'];
const MODELS_WANTED = 'wants roles with their models, such as user:tinyllama,all-minilm;operator:*';

/** Names of models by role. */
export const modelsByRole = v.pipe(
  v.string(),
  v.transform((all) =>
    all
      .split(';')
      .filter((one) => one.trim() !== '')
      .map((one) => {
        const colon = one.indexOf(':');
        return [one.slice(0, Math.max(colon, 0)).trim(), v.parse(list, one.slice(colon + 1))] as const;
      }),
  ),
  v.check(
    (entries) => entries.every(([role, models]) => ROLES.includes(role) && models.every((name) => /^[\w*]/.test(name))),
    MODELS_WANTED,
  ),
  v.check((entries) => new Set(entries.map(([role]) => role)).size === entries.length, 'wants each role once'),
  v.transform((entries): Record<string, string[]> => Object.fromEntries(entries)),
);

const LANES_WANTED = `wants some of ${LANES.join(', ')}, separated by commas`;

export const lanes = v.pipe(list, v.array(v.picklist(LANES, LANES_WANTED)), v.minLength(1, LANES_WANTED));

export function setting<S extends v.GenericSchema<string | undefined, unknown>>(
  group: string,
  schema: S,
  help: string,
  more: { secret?: true; example?: string } = {},
): Setting<S> {
  return { group, schema, help, ...more };
}
