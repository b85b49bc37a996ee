import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { POLICIES } from '../../src/api/policy.ts';
import { queueExample } from '../../src/api/shapes/queue.ts';
import { loadConfig } from '../../src/config.ts';
import { LANE_DEFAULTS, LANES } from '../../src/tasks/lanes.ts';
import { readCompose } from '../support/compose-files.ts';
import { buildOverlay, type Resource, schemaProblems, strictProblems, titleOf } from '../support/kubernetes.ts';
import { podsOf, SECRETS } from '../support/kubernetes-references.ts';
import { kubernetesProblems } from '../support/kubernetes-rules.ts';
import { reaches } from '../support/network-policies.ts';
import { ROOT } from '../support/sources.ts';

const OVERLAYS = ['staging', 'production', 'sentinel', 'extras'];
const built = new Map(OVERLAYS.map((name) => [name, buildOverlay(name)]));
const overlay = (name: string): Resource[] => structuredClone(built.get(name)) as Resource[];
const find = (resources: Resource[], title: string): Resource => resources.find((one) => titleOf(one) === title);
const spec = (resources: Resource[], title: string): Resource => find(resources, title).spec;
const pod = (resources: Resource[], title: string): Resource => spec(resources, title).template.spec;

test.each(OVERLAYS)(
  'the overlay %s fits the schemas of Kubernetes, KEDA and the operator of Prometheus',
  async (name) => {
    const resources = overlay(name);
    expect(resources.length).toBeGreaterThan(30);
    expect(await schemaProblems(resources)).toEqual([]);
  },
);

test('no word in the overlays is one that these do not know', () => {
  expect(strictProblems(OVERLAYS.flatMap(overlay))).toEqual([]);
  const spoilt = [find(overlay('staging'), 'Deployment api'), find(overlay('staging'), 'ScaledObject worker-llm')];
  spoilt[0].spec.template.spec.containers[0].livenesProbe = {};
  spoilt[1].spec.maxReplicas = 3;
  expect(strictProblems(spoilt).join('\n')).toMatch(
    /Deployment api.*livenesProbe[\s\S]*ScaledObject worker-llm.*maxReplicas/,
  );
});

test.each(OVERLAYS)('the overlay %s keeps the rules', (name) => {
  expect(kubernetesProblems(overlay(name))).toEqual([]);
});

test.each<[string, (all: Resource[]) => void, string]>([
  ['a wrong value', (all) => Object.assign(spec(all, 'Deployment gateway'), { replicas: 'two' }), 'replicas'],
  ['something that is missing', (all) => delete spec(all, 'Service api').ports[0].port, 'port'],
  ['a kind that is none', (all) => Object.assign(find(all, 'Service api'), { kind: 'Servise' }), 'no Servise'],
])('%s does not fit the schemas', async (_, spoil, problem) => {
  const all = overlay('staging');
  spoil(all);
  expect((await schemaProblems(all)).join('\n')).toContain(problem);
});

test.each<[string, (all: Resource[]) => void, string]>([
  ['root', (all) => Object.assign(pod(all, 'Deployment api').securityContext, { runAsUser: 0 }), 'may run as root'],
  ['no seccomp', (all) => delete pod(all, 'Job migrate').securityContext.seccompProfile, 'no seccomp profile'],
  ['the network of the node', (all) => Object.assign(pod(all, 'Deployment api'), { hostNetwork: true }), 'of its node'],
  ['a folder of the node', (all) => pod(all, 'Deployment api').volumes.push({ name: 'x', hostPath: {} }), 'hostPath'],
  ['a token', (all) => delete pod(all, 'StatefulSet redis').automountServiceAccountToken, 'a token for Kubernetes'],
  [
    'a root that is written to',
    (all) => delete pod(all, 'Deployment gateway').initContainers[0].securityContext.readOnlyRootFilesystem,
    'render may write to its image',
  ],
  ['no readiness', (all) => delete pod(all, 'Deployment worker-llm').containers[0].readinessProbe, 'no readinessProbe'],
  [
    'a probe of no port',
    (all) => Object.assign(pod(all, 'Deployment api').containers[0].livenessProbe.httpGet, { port: 'live' }),
    'probed at no port live',
  ],
  ['no limit', (all) => delete pod(all, 'Deployment api').containers[0].resources.limits, 'says not what it needs'],
  [
    'a ConfigMap that is not there',
    (all) =>
      all.splice(
        all.findIndex(({ kind }) => kind === 'ConfigMap'),
        1,
      ),
    'no ConfigMap',
  ],
  [
    'an unknown secret',
    (all) => Object.assign(pod(all, 'Deployment api').volumes[0].secret, { secretName: 'other' }),
    'reads no secret other/database_url',
  ],
  ['a secret that is not mounted', (all) => pod(all, 'Deployment api').volumes[0].secret.items.pop(), 'admin_password'],
  [
    'a selector of nobody',
    (all) => Object.assign(spec(all, 'Service api').selector, { x: 'y' }),
    'pods that are not there',
  ],
  [
    'a budget of nobody',
    (all) => Object.assign(spec(all, 'PodDisruptionBudget worker-llm').selector.matchLabels, { x: 'y' }),
    'PodDisruptionBudget worker-llm means pods',
  ],
  [
    'a door to no port',
    (all) => Object.assign(spec(all, 'Service api').ports[0], { targetPort: 'web' }),
    'no port web',
  ],
  [
    'a scaler of nobody',
    (all) => Object.assign(spec(all, 'ScaledObject worker-llm').scaleTargetRef, { name: 'worker' }),
    'scales worker, which is not there',
  ],
  [
    'a number that a scaler changes',
    (all) => Object.assign(spec(all, 'Deployment api'), { replicas: 2 }),
    'which says how many itself',
  ],
  [
    'an unknown setting',
    (all) => Object.assign(all.find(({ kind }) => kind === 'ConfigMap').data, { LOG: 'x' }),
    'LOG is no',
  ],
  [
    'a secret in the open',
    (all) => Object.assign(all.find(({ kind }) => kind === 'ConfigMap').data, { JWT_SECRET_KEY: 'x' }),
    'a secret in the open',
  ],
])('%s is found', (_, spoil, problem) => {
  const all = overlay('staging');
  spoil(all);
  expect(kubernetesProblems(all).join('\n')).toContain(problem);
});

test.each(OVERLAYS)('in the overlay %s every lane has workers of its own, scaled by what wants one', (name) => {
  const all = overlay(name);
  const namespace = find(all, `Namespace ${name === 'staging' ? 'sutazai-staging' : 'sutazai'}`).metadata.name;
  for (const lane of LANES) {
    const { labels } = spec(all, `Deployment worker-${lane}`).template.metadata;
    expect(labels['sutazai.dev/lane']).toBe(lane);
    const { metadata, authenticationRef } = spec(all, `ScaledObject worker-${lane}`).triggers[0];
    const { hostname, port, pathname } = new URL(metadata.url);
    expect(hostname).toBe(`api.${namespace}.svc.cluster.local`);
    expect(port).toBe('3000');
    expect(POLICIES[`GET ${pathname}`]).toBe('queues:read');
    expect(metadata).toMatchObject({ authMode: 'apiKey', method: 'header', keyParamName: 'X-API-Key' });
    expect(spec(all, `TriggerAuthentication ${authenticationRef.name}`).secretTargetRef[0].parameter).toBe('apiKey');
    const [, field = ''] = /^data\.#\(name=="\w+"\)\.(\w+)$/.exec(metadata.valueLocation) ?? [];
    expect(metadata.valueLocation).toBe(`data.#(name=="${lane}").${field}`);
    expect(queueExample[field as 'demand']).toBeTypeOf('number');
    // One worker for as many tasks as one works on at a time.
    expect(metadata.targetValue).toBe(String(LANE_DEFAULTS[lane].concurrency));
  }
});

test.each(OVERLAYS)(
  'in the overlay %s every process of the product loads its configuration from what is mounted',
  (name) => {
    const folder = mkdtempSync(join(tmpdir(), 'sutazai-kubernetes-'));
    try {
      const all = overlay(name);
      mkdirSync(join(folder, 'scripts'));
      execFileSync('sh', [join(ROOT, 'scripts/generate_secrets.sh'), '--dir', join(folder, 'secrets')]);
      writeFileSync(join(folder, 'secrets/database_url'), 'postgres://sutazai:x@db.internal:5432/sutazai');
      writeFileSync(join(folder, 'secrets/redis_url'), 'rediss://:x@redis.internal:6380');
      const [settings] = all.filter(({ kind }) => kind === 'ConfigMap');
      for (const { owner, pod } of podsOf(all).filter(({ pod }) => pod.containers[0].image === 'sutazai')) {
        const [{ env = [], envFrom, args }] = pod.containers;
        const paths = pod.volumes.flatMap(({ secret }: Resource) => secret?.items ?? []);
        const mounted = new Set(paths.map(({ path }: Resource) => `/run/secrets/${path}`));
        const given: Array<[string, string]> = [
          ...Object.entries<string>(envFrom ? settings.data : {}),
          ...env.map(({ name: key, value }: Resource) => [
            key,
            value ?? owner.spec.template.metadata.labels['sutazai.dev/lane'],
          ]),
        ];
        for (const [key, value] of given) if (key.endsWith('_FILE')) expect(mounted, titleOf(owner)).toContain(value);
        const here = given.map(([key, value]) => [key, value.replace('/run/secrets', join(folder, 'secrets'))]);
        const config = loadConfig(
          { NODE_ENV: 'production', ...Object.fromEntries(here) },
          { databaseAlone: args[0] === 'migrate' },
        );
        expect(config).toMatchObject({ production: true, queue: { backend: 'redis' } });
        expect(Boolean(config.queue.redis?.sentinels), titleOf(owner)).toBe(name === 'sentinel');
        const collector = 'http://otel-collector.monitoring.svc.cluster.local:4318';
        expect(config.traces.endpoint).toBe(name === 'staging' || args[0] === 'migrate' ? undefined : collector);
        if (args[0] === 'worker') expect(owner.metadata.name).toBe(`worker-${config.worker.lanes.join()}`);
        if (args[0] === 'worker') expect(config.health.port).toBe(pod.containers[0].ports[0].containerPort);
      }
      expect(Object.keys(SECRETS)).toContain('sutazai');
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

test('the gateway is set as in docker-compose.yml', () => {
  const compose = readCompose().services.kong?.environment ?? {};
  for (const name of OVERLAYS) {
    const { env } = pod(overlay(name), 'Deployment gateway').containers[0];
    const here = Object.fromEntries(env.map(({ name: key, value }: Resource) => [key, value]));
    expect(here.KONG_PROXY_LISTEN).toMatch(/^0\.0\.0\.0:8000\b/);
    for (const [key, value] of Object.entries(compose))
      if (key !== 'KONG_PROXY_LISTEN') expect(here[key], key).toBe(value.replaceAll('$$', '$'));
  }
});

test('the policies let through what is needed, and nothing else', () => {
  const all = overlay('staging');
  const world = { address: '203.0.113.7' };
  const database = { address: '10.1.2.3' };
  const [gateway, api, worker, migrate, store] = ['gateway', 'api', 'worker', 'migrate', 'store'].map((component) => ({
    component,
  })) as [{ component: string }, ...Array<{ component: string }>];
  const [keda, monitoring, other] = ['keda', 'monitoring', 'default'].map((namespace) => ({ namespace }));
  type Connection = [Parameters<typeof reaches>[1], Parameters<typeof reaches>[2], number];
  const through: Connection[] = [
    [world, gateway, 8443],
    [gateway, api!, 3000],
    [keda!, api!, 3000],
    ...[3001, 8100].map((port): Connection => [monitoring!, port === 3001 ? worker! : gateway, port]),
    [monitoring!, api!, 3001],
    ...[api!, worker!, migrate!].flatMap((who): Connection[] => [
      [who, database, 5432],
      [who, store!, 6379],
    ]),
    [worker!, world, 443],
    [worker!, { address: '2001:4860::8888' }, 8443],
    [api!, monitoring!, 4318],
  ];
  const kept: Connection[] = [
    [world, api!, 3000],
    [world, api!, 3001],
    [world, gateway, 8100],
    [world, store!, 6379],
    [other!, api!, 3000],
    [other!, store!, 6333],
    [gateway, store!, 6379],
    [gateway, database, 5432],
    [gateway, world, 443],
    [worker!, api!, 3000],
    [api!, world, 443],
    [migrate!, world, 443],
    [store!, database, 5432],
    ...['169.254.169.254', '10.1.2.3', '192.168.1.1', '100.100.100.100'].map(
      (address): Connection => [worker!, { address }, 80],
    ),
  ];
  const open = (connection: Connection) => reaches(all, ...connection);
  expect(through.filter((one) => !open(one))).toEqual([]);
  expect(kept.filter(open)).toEqual([]);
  expect(reaches(all, worker!, { namespace: 'kube-system' }, 53, 'UDP')).toBe(true);
});
