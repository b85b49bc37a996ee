// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the placeholders of kong.yml look like this
import { createHmac } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { DEFAULTS, renderKong } from '../../scripts/render-kong.mjs';
import { createTokens } from '../../src/api/auth/tokens.ts';
import { POLICIES } from '../../src/api/policy.ts';
import { loadConfig } from '../../src/config.ts';
import { SETTINGS } from '../../src/settings.ts';
import { fixedKeys } from '../support/keys.ts';
import { isUpload, matchedRoute } from '../support/kong-routes.ts';
import { kongProblems } from '../support/kong-rules.ts';

const TEMPLATE = readFileSync(new URL('../../kong.yml', import.meta.url), 'utf8');
/** Quotes, a backslash and a colon: what would break out of a YAML string. */
const SECRET = 'a "secret" with \\ and: {braces}, long enough';

// biome-ignore lint/suspicious/noExplicitAny: bad variants are made by reaching anywhere into the file
type Document = any;
const render = (env: Record<string, string> = { JWT_SECRET_KEY: SECRET }): Document => parse(renderKong(TEMPLATE, env));

test('the rendered gateway configuration keeps all rules of Kong', () => {
  expect(kongProblems(render())).toEqual([]);
});

test.each<[string, (kong: Document) => void, string]>([
  ['an unquoted format version', (kong) => Object.assign(kong, { _format_version: 3.0 }), '_format_version'],
  ['an unknown format version', (kong) => Object.assign(kong, { _format_version: '9.0' }), '_format_version'],
  ['an unknown key', (kong) => Object.assign(kong.services[0], { timeout: 5 }), 'timeout'],
  ['a time-out with a unit', (kong) => Object.assign(kong.services[0], { read_timeout: '60s' }), 'read_timeout'],
  ['a URL that is a placeholder', (kong) => Object.assign(kong.services[0], { url: '${API_URL}' }), 'url'],
  ['a service without a host', (kong) => delete kong.services[0].host, 'either url or host'],
  ['a name with a space', (kong) => Object.assign(kong.services[0], { name: 'my api' }), 'a name has'],
  ['a path without a slash', (kong) => kong.services[0].routes[0].paths.push('api'), 'a path starts with'],
  ['a regex without ~', (kong) => kong.services[0].routes[0].paths.push('^/api'), 'a path starts with'],
  ['a method in lower case', (kong) => kong.services[0].routes[0].methods.push('get'), 'upper-case'],
  [
    'a route that matches everything',
    (kong) => kong.services[0].routes.push({ name: 'all', protocols: ['http'] }),
    'at least one of',
  ],
  ['two routes of one name', (kong) => kong.services[0].routes.push({ name: 'api', paths: ['/x'] }), 'twice'],
  [
    'a service given as an object',
    (kong) => Object.assign(kong, { routes: [{ paths: ['/x'], service: { name: 'sutazai-api' } }] }),
    'plain string',
  ],
  [
    'a service that is not there',
    (kong) => Object.assign(kong, { routes: [{ paths: ['/x'], service: 'y' }] }),
    'no service',
  ],
  ['a target with an impossible port', (kong) => kong.upstreams[0].targets.push({ target: 'api:99999' }), 'targets'],
  ['a health check path without a slash', (kong) => set(kong.upstreams[0].healthchecks.active, 'http_path', 'up'), '/'],
  ['a plugin of the enterprise edition', (kong) => kong.plugins.push({ name: 'rate-limiting-advanced' }), 'name'],
  [
    'a claim that Kong cannot verify',
    (kong) => set(jwtOf(kong), 'claims_to_verify', ['exp', 'aud']),
    'claims_to_verify',
  ],
  ['an unknown plugin setting', (kong) => set(jwtOf(kong), 'key_claim', 'iss'), 'key_claim'],
  [
    'a rate limit without a window',
    (kong) => set(limitOf(kong), 'second', undefined, 'minute'),
    'at least one of second',
  ],
  ['a minute that allows less than a second', (kong) => set(limitOf(kong), 'minute', 1), 'a longer window'],
  ['counters in a cluster', (kong) => set(limitOf(kong), 'policy', 'cluster'), 'local or redis'],
  ['a limit by a header without its name', (kong) => set(limitOf(kong), 'limit_by', 'header'), 'header_name'],
  [
    'a payload size that is no integer',
    (kong) => set(pluginOf(kong, 'request-size-limiting'), 'allowed_payload_size', '1m'),
    'size',
  ],
  ['an unknown generator of ids', (kong) => set(pluginOf(kong, 'correlation-id'), 'generator', 'ulid'), 'generator'],
  ['a consumer without a secret', (kong) => delete kong.consumers[0].jwt_secrets[0].secret, 'makes up one'],
  ['an unknown algorithm', (kong) => set(kong.consumers[0].jwt_secrets[0], 'algorithm', 'none'), 'algorithm'],
  ['a consumer without a name', (kong) => delete kong.consumers[0].username, 'username or custom_id'],
  [
    'a placeholder that is left',
    (kong) => set(kong.consumers[0].jwt_secrets[0], 'secret', '${JWT_SECRET_KEY}'),
    'placeholder',
  ],
])('%s is found', (_, spoil, problem) => {
  const kong = render();
  spoil(kong);
  expect(kongProblems(kong).join('\n')).toContain(problem);
});

/** Kong's own steps: it finds the key by a name in the claims or in the header, then checks the signature. */
function isAccepted(kong: Document, token: string): boolean {
  const [header, claims, signature] = token.split('.') as [string, string, string];
  const decode = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString());
  const name = jwtOf(kong).key_claim_name;
  const key = decode(claims)[name] ?? decode(header)[name];
  const credential = kong.consumers[0].jwt_secrets.find((one: Document) => one.key === key);
  if (!credential || credential.algorithm !== decode(header).alg || decode(claims).exp < Date.now() / 1000)
    return false;
  return signature === createHmac('sha256', credential.secret).update(`${header}.${claims}`).digest('base64url');
}

const issue = (secret: string) =>
  createTokens(loadConfig({}).auth, fixedKeys(secret)).issue({
    userId: 'u',
    username: 'n',
    role: 'user',
    sessionId: 's',
  });

test('the gateway accepts the tokens that the API issues, by its own steps', async () => {
  const kong = render({ JWT_SECRET_KEY: SECRET });
  expect(isAccepted(kong, await issue(SECRET))).toBe(true);
  expect(isAccepted(kong, await issue(`${SECRET}x`))).toBe(false);
  expect(jwtOf(kong)).toMatchObject({ claims_to_verify: ['exp'], secret_is_base64: false });
});

test('the gateway accepts tokens of two keys while one takes the place of the other, and else of one', async () => {
  const [before, after] = [await issue(SECRET), await issue(`${SECRET}, new`)];
  const kong = render({ JWT_SECRET_KEY: `${SECRET}, new`, JWT_SECRET_KEY_PREVIOUS: SECRET });
  expect(kongProblems(kong)).toEqual([]);
  expect([isAccepted(kong, before), isAccepted(kong, after)]).toEqual([true, true]);
  const done = render({ JWT_SECRET_KEY: `${SECRET}, new` });
  expect([isAccepted(done, before), isAccepted(done, after)]).toEqual([false, true]);
});

test('without a previous key, or with the present one in its place, the gateway has one that nobody knows', () => {
  const none: Array<Record<string, string>> = [
    {},
    { JWT_SECRET_KEY_PREVIOUS: '' },
    { JWT_SECRET_KEY_PREVIOUS: SECRET },
  ];
  for (const env of none) {
    const [one, other] = [1, 2].map(() => render({ JWT_SECRET_KEY: SECRET, ...env }).consumers[0].jwt_secrets[1]);
    expect(kongProblems(render({ JWT_SECRET_KEY: SECRET, ...env }))).toEqual([]);
    expect(one.secret).not.toBe(other.secret);
    expect(Buffer.from(one.secret, 'base64')).toHaveLength(32);
  }
});

/** What is read from within, past the gateway. */
const INNER = ['GET /metrics'];

test('a route of the API goes without a token exactly where its policy is public', () => {
  for (const [route, policy] of Object.entries(POLICIES)) {
    const [method, path] = route.split(' ') as [string, string];
    const matched = matchedRoute(render(), method, path);
    const asksForToken = matched?.plugins?.some(({ name }: { name: string }) => name === 'jwt') ?? false;
    expect({ route, matched: Boolean(matched), asksForToken }).toEqual({
      route,
      matched: !INNER.includes(route),
      asksForToken: policy !== 'public' && policy !== 'docs' && !INNER.includes(route),
    });
  }
});

test.each([
  ['POST', '/api/v1/auth/login-as'],
  ['POST', '/api/v1/auth/login/x'],
  ['GET', '/api/v1/auth/login'],
])('%s %s, a neighbour of a public route, asks for a token', (method, path) => {
  expect(matchedRoute(render(), method, path).name).toBe('api');
});

test('a token may stand in the query where one task is read, and nowhere else', () => {
  const id = '01980000-0000-7000-8000-000000000000';
  for (const route of Object.keys(POLICIES)) {
    const [method, path] = route.split(' ') as [string, string];
    const matched = matchedRoute(render(), method, path.replace(/:\w+/, id));
    const jwt = matched?.plugins?.find(({ name }: { name: string }) => name === 'jwt');
    const inQuery = method === 'GET' && path.startsWith('/api/v1/tasks/:id');
    if (jwt) expect(jwt.config.uri_param_names, route).toEqual(inQuery ? ['access_token'] : []);
    else expect(inQuery, route).toBe(false);
  }
});

test.each([
  ['an API key as bearer', { authorization: 'Bearer sk_x' }, 'api-key-as-bearer'],
  ['an API key in its own header', { 'x-api-key': 'sk_x' }, 'api-key-in-header'],
  ['a token', { authorization: 'Bearer x.y.z' }, 'api'],
  ['what only looks like a key', { authorization: 'Basic sk_x', 'x-api-key': 'x sk_' }, 'api'],
])('%s goes where it is checked, on every route but those that limit guessing', (_, headers, name) => {
  for (const route of Object.keys(POLICIES)) {
    const [method, path] = route.split(' ') as [string, string];
    if (!/^(\/api)?\/v1\//.test(path)) continue;
    const whole = path.replace(/:\w+/, '01980000-0000-7000-8000-000000000000');
    const matched = matchedRoute(render(), method, whole, headers as unknown as Record<string, string>).name;
    const limited = /auth\/(login|register|refresh)$/.test(path);
    const oneTask = method === 'GET' && path.startsWith('/api/v1/tasks/:id');
    const checked = isUpload(method, path)
      ? name.replace(/^api/, 'upload')
      : path.startsWith('/v1/')
        ? name.replace(/^api-|^api$/, (start) => start.replace('api', 'openai'))
        : name === 'api' && oneTask
          ? 'one-task'
          : name;
    // Nobody logs out with a key.
    expect(matched, route).toBe(limited ? 'auth-public' : path.endsWith('/logout') ? 'api' : checked);
  }
});

test.each(['/metrics', '/healthz/x', '/monitoring/queues'])('%s does not go through the gateway', (path) => {
  expect(matchedRoute(render(), 'GET', path)).toBeUndefined();
});

test('rendering names everything that is missing', () => {
  expect(() => renderKong('a: ${JWT_SECRET_KEY}\nb: ${OTHER}', {})).toThrow(
    'set JWT_SECRET_KEY (or JWT_SECRET_KEY_FILE), OTHER (or OTHER_FILE)',
  );
});

test('rendering refuses a placeholder that it cannot fill in', () => {
  expect(() => renderKong('a: 1\nb: ${lower}', {})).toThrow('Line 2');
});

test('a secret comes from its file, without the line break at the end', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sutazai-kong-'));
  writeFileSync(join(folder, 'key'), `${SECRET}\n`);
  try {
    const kong = render({ JWT_SECRET_KEY_FILE: join(folder, 'key') });
    expect(kong.consumers[0].jwt_secrets[0].secret).toBe(SECRET);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the defaults of the gateway are those of the API', () => {
  for (const [name, value] of Object.entries(DEFAULTS) as [keyof typeof DEFAULTS, string][])
    expect(value, name).toBe(v.getDefault(SETTINGS[name].schema));
});

function set(object: Document, key: string, value: unknown, alsoDelete = key): void {
  object[key] = value;
  if (alsoDelete !== key) delete object[alsoDelete];
  if (value === undefined) delete object[key];
}

function pluginOf(kong: Document, plugin: string): Document {
  return kong.plugins.find(({ name }: { name: string }) => name === plugin).config;
}

const limitOf = (kong: Document) => pluginOf(kong, 'rate-limiting');
const jwtOf = (kong: Document) =>
  kong.services[0].routes.find(({ name }: { name: string }) => name === 'api').plugins[0].config;
