import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config.ts';
import { LANES } from '../../src/tasks/lanes.ts';
import { type Compose, composeProblems, type Service } from '../support/compose-rules.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const read = (): Compose => parse(readFileSync(join(ROOT, 'docker-compose.yml'), 'utf8'), { merge: true });
const service = (compose: Compose, name: string) => compose.services[name] as Service;

/** The environment that a service gets where nothing is overridden. */
function environmentOf(name: string): Record<string, string> {
  const given = service(read(), name).environment ?? {};
  return Object.fromEntries(
    Object.entries(given).map(([key, value]) => [key, value.replace(/\$\{\w+:-([^}]*)\}/, '$1')]),
  );
}

test('docker-compose.yml keeps the rules', () => {
  expect(composeProblems(read())).toEqual([]);
});

test.each<[string, (compose: Compose) => void, string]>([
  ['a published port', (c) => Object.assign(service(c, 'redis'), { ports: ['6379:6379'] }), 'redis publishes a port'],
  ['an unknown network', (c) => service(c, 'api').networks?.push('lan'), 'api is on no network lan'],
  ['the default network', (c) => delete service(c, 'api').networks, 'default network'],
  ['an unknown secret', (c) => service(c, 'api').secrets?.push('pin'), 'api reads no secret pin'],
  ['an unknown volume', (c) => service(c, 'redis').volumes?.push('disk:/x'), 'redis mounts no volume disk'],
  ['a service that is not there', (c) => delete c.services.ollama, 'worker-llm waits for ollama'],
  ['a wait for the start alone', (c) => setWait(c, 'service_started'), 'does not wait until'],
  ['a health that nobody checks', (c) => delete service(c, 'postgres').healthcheck, 'which has no health check'],
  ['an unknown setting', (c) => setVariable(c, 'PORTS', '1'), 'api sets PORTS'],
  ['a file for what is no secret', (c) => setVariable(c, 'LOG_LEVEL_FILE', '/x'), 'LOG_LEVEL is no secret'],
  [
    'a secret that is not mounted',
    (c) => setVariable(c, 'ADMIN_PASSWORD_FILE', '/run/secrets/x'),
    'without that secret',
  ],
  ['a secret in the environment', (c) => setVariable(c, 'JWT_SECRET_KEY', 'x'), 'api holds a secret'],
])('%s is found', (_, spoil, problem) => {
  const compose = read();
  spoil(compose);
  expect(composeProblems(compose).join('\n')).toContain(problem);
});

test('the gateway writes no query into its log, because a token may stand in one', () => {
  const { KONG_NGINX_HTTP_LOG_FORMAT: format = '', KONG_PROXY_ACCESS_LOG: log } = environmentOf('kong');
  expect(log).toBe(`/dev/stdout ${format.split(' ')[0]}`);
  expect(format).toMatch(/^\w+ '[^']+'$/);
  // Two dollars are one for Compose. These are the variables of nginx that hold the query or the page before.
  expect(format.match(/(?<!\$)\$\w/g)).toBeNull();
  expect(format.match(/\$(request|request_uri|args|query_string|http_referer|upstream_uri)\b/g)).toBeNull();
});

test('what two of the services have to agree on is the same for both', () => {
  expect(environmentOf('ollama').OLLAMA_NUM_PARALLEL).toBe(environmentOf('worker-llm').OLLAMA_NUM_PARALLEL);
  expect(environmentOf('gateway-config').MAX_FILE_BYTES).toBe(environmentOf('api').MAX_FILE_BYTES);
  const settings = loadConfig({});
  expect(environmentOf('api').MAX_FILE_BYTES).toBe(String(settings.files.maxBytes));
  expect(environmentOf('api').OLLAMA_NUM_PARALLEL).toBe(String(settings.models.slots.parallel));
});

test('every lane has a worker, and none is served by two services', () => {
  const served = Object.values(read().services).flatMap(
    ({ environment }) => environment?.WORKER_LANES?.split(',') ?? [],
  );
  expect(served.sort()).toEqual([...LANES].sort());
});

test('whoever serves requests or tasks is asked for its health, by a port that a busy process answers too', () => {
  const { services } = read();
  for (const name of Object.keys(services).filter((one) => /^(api|worker-)/.test(one))) {
    expect(services[name]?.healthcheck, name).toBeUndefined();
    expect(environmentOf(name).HEALTH_PORT, name).toBe('3001');
  }
});

test('stores, models and the API are on networks that the gateway does not publish', () => {
  const { services, networks } = read();
  for (const [name, { networks: on = [] }] of Object.entries(services))
    expect(on.includes('edge'), name).toBe(name === 'kong');
  expect(networks.inner?.internal).toBe(true);
});

test('the secrets that generate_secrets.sh makes are the declared ones, and each service starts with them', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sutazai-secrets-'));
  try {
    mkdirSync(join(folder, 'scripts'));
    copyFileSync(join(ROOT, 'scripts/generate_secrets.sh'), join(folder, 'scripts/generate_secrets.sh'));
    const makeSecrets = () => execFileSync('sh', [join(folder, 'scripts/generate_secrets.sh')], { encoding: 'utf8' });
    makeSecrets();
    expect(readdirSync(join(folder, 'secrets')).sort()).toEqual(Object.keys(read().secrets).sort());
    expect(makeSecrets(), 'a second run leaves them').toBe('');

    for (const name of ['api', 'migrate', 'worker-llm', 'worker-vectors', 'worker-short']) {
      const env = Object.fromEntries(
        Object.entries(environmentOf(name)).map(([key, value]) => [
          key,
          value.replace('/run/secrets', join(folder, 'secrets')),
        ]),
      );
      const config = loadConfig({ NODE_ENV: 'production', ...env }, { databaseAlone: name === 'migrate' });
      expect(config).toMatchObject({ production: true, queue: { backend: 'redis' } });
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

function setVariable(compose: Compose, name: string, value: string): void {
  Object.assign(service(compose, 'api').environment as object, { [name]: value });
}

function setWait(compose: Compose, condition: string): void {
  Object.assign(service(compose, 'api').depends_on?.redis as object, { condition });
}
