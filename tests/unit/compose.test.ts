import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { LANES } from '../../src/tasks/lanes.ts';
import { defaultsOf, readCompose, readYaml, schemaProblems } from '../support/compose-files.ts';
import { type Compose, composeProblems, networksOf, type Service } from '../support/compose-rules.ts';
import { ROOT, readText } from '../support/sources.ts';

const OVERRIDES = ['deploy/compose/dev.yml', 'deploy/compose/monitoring.yml'];
const read = () => structuredClone(readCompose());
const service = (compose: Compose, name: string) => compose.services[name] as Service;

const environmentOf = (name: string) => defaultsOf(service(read(), name));

test('docker-compose.yml keeps the rules', () => {
  expect(composeProblems(read())).toEqual([]);
});

test.each(['docker-compose.yml', ...OVERRIDES])('%s fits the schema of the compose specification', (path) => {
  expect(schemaProblems(readYaml(path))).toEqual([]);
});

test.each<[string, (compose: Compose) => void, string]>([
  ['a word that is none', (c) => Object.assign(service(c, 'api'), { restarts: 'always' }), 'restarts'],
  ['a time without a unit', (c) => Object.assign(service(c, 'api'), { stop_grace_period: '45' }), 'duration'],
  ['a condition that is none', (c) => setWait(c, 'service_up'), '/services/api/depends_on'],
  ['a list that is a text', (c) => Object.assign(service(c, 'api'), { cap_drop: 'ALL' }), '/services/api/cap_drop'],
])('%s does not fit the schema', (_, spoil, problem) => {
  const compose = read();
  spoil(compose);
  expect(schemaProblems(compose).join('\n')).toContain(problem);
});

test.each(OVERRIDES)('%s lies upon services that are there, and opens ports on this machine alone', (path) => {
  const names = Object.keys(read().services);
  expect(names).toEqual(expect.arrayContaining(Object.keys(readYaml(path).services as object)));
  const merged = readCompose(path);
  expect(schemaProblems(merged)).toEqual([]);
  expect(composeProblems(merged, { development: true })).toEqual([]);
});

test('in development, processes of the product run the sources of the folder, each of them once', () => {
  const { services } = readCompose('deploy/compose/dev.yml');
  for (const [name, { entrypoint, volumes, deploy }] of Object.entries(services) as Array<
    [string, Service & { entrypoint: string[] }]
  >)
    if (/^(api|worker-)/.test(name)) {
      expect(entrypoint.join(' '), name).toBe('node --disable-warning=ExperimentalWarning --watch src/main.ts');
      expect(volumes, name).toContain('./src:/app/src:ro');
      expect(deploy?.replicas, name).toBe(1);
    }
});

test('what the files mount is there, and every variable that they take from outside has a default', () => {
  for (const path of ['docker-compose.yml', ...OVERRIDES]) {
    const { services } = readYaml(path) as unknown as Compose;
    const mounted = Object.values(services).flatMap(({ volumes = [] }) =>
      volumes.map((one) => one.split(':')[0] ?? ''),
    );
    expect(mounted.filter((one) => one.startsWith('.') && !existsSync(join(ROOT, one)))).toEqual([]);
    expect(readText(path).match(/(?<!\$)\$\{\w+\}/g)).toBeNull();
  }
});

test.each<[string, (compose: Compose) => void, string]>([
  ['a published port', (c) => Object.assign(service(c, 'redis'), { ports: ['6379:6379'] }), 'redis publishes a port'],
  ['an unknown network', (c) => Object.assign(service(c, 'api'), { networks: ['lan'] }), 'api is on no network lan'],
  ['the default network', (c) => delete service(c, 'api').networks, 'default network'],
  ['an unknown secret', (c) => service(c, 'api').secrets?.push('pin'), 'api reads no secret pin'],
  ['an unknown volume', (c) => service(c, 'redis').volumes?.push('disk:/x'), 'redis mounts no volume disk'],
  ['a service that is not there', (c) => delete c.services.ollama, 'worker-llm waits for ollama'],
  ['a service in no profile', (c) => delete service(c, 'redis').profiles, 'redis is in no profile'],
  ['an unknown profile', (c) => service(c, 'redis').profiles?.push('cpu'), 'redis is in the profile cpu'],
  [
    'a wait for what another profile starts',
    (c) => Object.assign(service(c, 'redis'), { profiles: ['core'] }),
    'api waits for redis, which is not in the profile gpu',
  ],
  ['an image without a version', (c) => Object.assign(service(c, 'redis'), { image: 'redis' }), 'without a version'],
  ['the latest image', (c) => Object.assign(service(c, 'redis'), { image: 'redis:latest' }), 'without a version'],
  ['a container that writes to its image', (c) => delete service(c, 'api').read_only, 'api may write to its image'],
  ['a container with capabilities', (c) => delete service(c, 'api').cap_drop, 'api keeps capabilities'],
  ['a container that may gain privileges', (c) => delete service(c, 'api').security_opt, 'api may gain privileges'],
  ['a container without an init', (c) => delete service(c, 'api').init, 'api has no init'],
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

test('the image of backups has the programs of the very Postgres that is backed up, and keeps them on a volume', () => {
  const { migrate, tools, postgres } = read().services;
  for (const one of [migrate, tools]) {
    expect(one).toMatchObject({ build: { target: 'tools' }, volumes: ['backups:/backups'] });
    expect(one?.environment?.BACKUP_DIR).toBe('/backups');
  }
  const [, client] = /postgresql-client-(\d+)/.exec(readText('Dockerfile')) ?? [];
  expect(postgres?.image).toBe(`postgres:${client}`);
});

test('every lane has workers of its own', () => {
  const served = Object.entries(read().services)
    .filter(([, { environment }]) => environment?.WORKER_LANES)
    .map(([name, { environment, deploy }]) => [name, environment?.WORKER_LANES, (deploy?.replicas ?? 0) > 0]);
  expect(served).toEqual(LANES.map((lane) => [`worker-${lane}`, lane, true]));
});

test('Redis keeps what it was given, and forgets nothing to make room', () => {
  const [, , script = ''] = service(read(), 'redis').command ?? [];
  for (const line of ['appendonly yes', 'appendfsync everysec', 'maxmemory-policy noeviction'])
    expect(script.split('\n').map((one) => one.trim())).toContain(line);
});

test('the gateway has no Admin API, and tells its state and its metrics to the inner network alone', () => {
  const { ports } = service(read(), 'kong');
  const { KONG_ADMIN_LISTEN, KONG_STATUS_LISTEN, KONG_DATABASE } = environmentOf('kong');
  expect([KONG_ADMIN_LISTEN, KONG_DATABASE, KONG_STATUS_LISTEN]).toEqual(['off', 'off', '0.0.0.0:8100']);
  expect(ports).toEqual(['${GATEWAY_PORT:-8080}:8000']);
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
  for (const [name, one] of Object.entries(services)) {
    expect(networksOf(one).includes('edge'), name).toBe(name === 'kong');
    if (/^(kong|api|migrate|tools|postgres|redis|qdrant|gateway-config)$/.test(name))
      expect(networksOf(one), `${name} has no way out`).not.toContain('outside');
  }
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

    for (const name of ['api', 'migrate', 'tools', ...LANES.map((lane) => `worker-${lane}`)]) {
      const env = Object.fromEntries(
        Object.entries(environmentOf(name)).map(([key, value]) => [
          key,
          value.replace('/run/secrets', join(folder, 'secrets')),
        ]),
      );
      const config = loadConfig({ NODE_ENV: 'production', ...env }, { databaseAlone: /^(migrate|tools)$/.test(name) });
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
