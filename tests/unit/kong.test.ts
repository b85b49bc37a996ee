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

test('the gateway accepts the tokens that the API issues, by its own steps', async () => {
  const { auth } = loadConfig({ JWT_SECRET_KEY: SECRET, JWT_ISSUER: 'https://tasks.example.com' });
  const tokens = createTokens({ ...auth, secret: SECRET });
  const token = await tokens.issue({ userId: 'u', username: 'n', role: 'user', sessionId: 's' });
  const kong = render({ JWT_SECRET_KEY: SECRET, JWT_ISSUER: 'https://tasks.example.com' });

  const [header, claims, signature] = token.split('.') as [string, string, string];
  const { iss, exp } = JSON.parse(Buffer.from(claims, 'base64url').toString());
  const credential = kong.consumers[0].jwt_secrets.find(({ key }: { key: string }) => key === iss);
  expect(credential.algorithm).toBe(JSON.parse(Buffer.from(header, 'base64url').toString()).alg);
  expect(signature).toBe(createHmac('sha256', credential.secret).update(`${header}.${claims}`).digest('base64url'));
  expect(exp).toBeGreaterThan(Date.now() / 1000);
  expect(jwtOf(kong)).toMatchObject({ key_claim_name: 'iss', claims_to_verify: ['exp'], secret_is_base64: false });
});

test('a route of the API goes without a token exactly where its policy is public', () => {
  for (const [route, policy] of Object.entries(POLICIES)) {
    const [method, path] = route.split(' ') as [string, string];
    const matched = matchedRoute(render(), method, path);
    const asksForToken = matched?.plugins?.some(({ name }: { name: string }) => name === 'jwt') ?? false;
    expect({ route, matched: Boolean(matched), asksForToken }).toEqual({
      route,
      matched: true,
      asksForToken: policy !== 'public' && policy !== 'docs',
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

/** Kong tries regular expressions first, then the longest prefix. */
function matchedRoute(kong: Document, method: string, path: string): Document {
  const routes = kong.services[0].routes.filter((route: Document) => !route.methods || route.methods.includes(method));
  const regex = routes.find(({ paths }: Document) =>
    paths.some((p: string) => p[0] === '~' && new RegExp(`^${p.slice(1)}`).test(path)),
  );
  return regex ?? routes.find(({ paths }: Document) => paths.some((p: string) => p[0] === '/' && path.startsWith(p)));
}

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
