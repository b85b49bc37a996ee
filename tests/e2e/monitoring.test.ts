import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, inject, test } from 'vitest';
import { CATALOGUE } from '../../src/telemetry/catalogue.ts';
import { createTestDatabase } from '../support/database.ts';
import { startFakeOllama } from '../support/fake-ollama.ts';
import { alerts, judging, MISSING_PROGRAMS, panelQueries, recorded } from '../support/monitoring.ts';
import { type Product, startProduct } from '../support/product.ts';
import { type MonitoringRig, startMonitoring } from '../support/prometheus.ts';
import { commandsOf, within } from '../support/runbooks.ts';
import { startSink } from '../support/sink.ts';
import { until } from '../support/until.ts';
import { ADMIN_PASSWORD, anonymousClient, type Client } from '../support/world.ts';

/** A page of metrics is kept for so long. */
const KEPT_MS = 1_000;
const RUNBOOKS = 'https://git.example.com/docs/runbooks';

/** What Kong's plugin tells, as Kong 3.9 writes it; no Kong can run here. */
const kong = (requests: number) => `
# TYPE kong_http_requests_total counter
kong_http_requests_total{service="sutazai-api",route="api",code="200",source="service",workspace="default",consumer="sutazai"} ${requests}
# TYPE kong_kong_latency_ms histogram
kong_kong_latency_ms_bucket{service="sutazai-api",route="api",workspace="default",le="5"} ${requests}
kong_kong_latency_ms_bucket{service="sutazai-api",route="api",workspace="default",le="+Inf"} ${requests}
kong_kong_latency_ms_count{service="sutazai-api",route="api",workspace="default"} ${requests}
kong_kong_latency_ms_sum{service="sutazai-api",route="api",workspace="default"} ${requests}
# TYPE kong_upstream_target_health gauge
kong_upstream_target_health{upstream="sutazai-api",target="api:3000",address="10.0.0.2:3000",state="healthchecks_off",subsystem="http"} 0
kong_upstream_target_health{upstream="sutazai-api",target="api:3000",address="10.0.0.2:3000",state="healthy",subsystem="http"} 1
kong_upstream_target_health{upstream="sutazai-api",target="api:3000",address="10.0.0.2:3000",state="unhealthy",subsystem="http"} 0
kong_upstream_target_health{upstream="sutazai-api",target="api:3000",address="10.0.0.2:3000",state="dns_error",subsystem="http"} 0
`;

/** One task of each kind that the boards tell apart, one that fails, and what is not let in. */
async function load(client: Client, sinkUrl: string, round: number): Promise<void> {
  const webhook = { url: sinkUrl };
  const agent = await client.request<{ id: string }>('POST', '/api/v1/agents', {
    ...{ name: `greeter-${round}`, type: 'http', endpoint: sinkUrl },
  });
  const points = [{ id: 1, text: 'The kettle is in the kitchen.' }];
  await Promise.all([
    client.runTask('echo', { message: 'hi' }, { webhook }),
    client.runTask('chat', { messages: [{ role: 'user', content: 'hi' }] }),
    client.runTask('embed', { input: `a text ${round}` }),
    client.runTask('vector.upsert', { collection: 'notes', points }),
    client.runTask('agent.run', { agent: agent.body.id, input: {} }),
    // Nobody listens there.
    client.runTask('http.request', { method: 'GET', url: 'http://127.0.0.1:1/' }, { max_attempts: 1 }),
    client.request('GET', '/api/v1/tasks/00000000-0000-7000-8000-000000000000'),
    client.request('GET', '/api/v1/schedules'),
    client.request('POST', '/api/v1/auth/login', { username: 'admin', password: 'not the password' }),
  ]);
}

const answersNothing = (values: number[]) => values.length === 0 || values.every((value) => Number.isNaN(value));

test.skipIf(MISSING_PROGRAMS.length > 0)(
  'a real Prometheus scrapes a real API and worker, finds something for every panel and rule, and what fires arrives',
  async () => {
    const database = await createTestDatabase();
    const ollama = await startFakeOllama();
    const sink = await startSink();
    sink.answer = (_, response) => response.setHeader('content-type', 'application/json').end('{"greeting": "Hello"}');
    let scrapes = 0;
    const gateway = createServer((_, response) => response.end(kong(++scrapes)));
    await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve));
    const env = {
      ...{ PATH: process.env.PATH ?? '', NODE_ENV: 'test', LOG_LEVEL: 'info', PORT: '0', HEALTH_PORT: '0' },
      ...{ DATABASE_URL: database.url, REDIS_URL: inject('redisUrl'), QUEUE_PREFIX: `m${process.pid}` },
      ...{ OLLAMA_HOST: ollama.url, QDRANT_URL: inject('qdrantUrl'), EGRESS_ALLOW: '127.0.0.1' },
      ...{ JWT_SECRET_KEY: 'only-for-tests-only-for-tests-only-for-tests', ADMIN_PASSWORD, BCRYPT_COST: '4' },
      ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
    };
    const products: Product[] = [];
    let rig: MonitoringRig | undefined;
    try {
      products.push(...(await Promise.all([startProduct(['api'], env), startProduct(['worker'], env)])));
      const [api, worker] = products as [Product, Product];
      const { address, port } = gateway.address() as AddressInfo;
      rig = await startMonitoring({
        targets: { api: [metricsOf(api)], worker: [metricsOf(worker)], kong: [`${address}:${port}`] },
        chatUrl: sink.url.replace('hook', 'chat'),
        runbooksUrl: RUNBOOKS,
      });
      const { query, ask } = rig;

      const anonymous = anonymousClient(api.url);
      const login = await anonymous.request<{ access_token: string }>('POST', '/api/v1/auth/login', {
        ...{ username: 'admin', password: ADMIN_PASSWORD },
      });
      const admin = anonymousClient(api.url, login.body.access_token);
      // Twice: what is seen for the first time has not grown yet, so all of it is seen in between.
      await load(admin, sink.url, 1);
      const loaded = Date.now() + KEPT_MS;
      await until(
        'both told of the first load',
        async () => {
          const told = await query('timestamp(sutazai_build_info)');
          return told.length === products.length && told.every(({ value }) => value * 1_000 > loaded);
        },
        { everyMs: 250 },
      );
      await load(admin, sink.url, 2);

      let left = [
        // What is declared is told by somebody.
        ...Object.values(CATALOGUE).map(({ kind, name }) => ({
          where: name,
          expr: `count(${kind === 'histogram' ? `${name}_count` : name})`,
        })),
        ...panelQueries().map(({ where, expr }) => ({ where, expr })),
        ...recorded().map(({ record, expr }) => ({ where: record, expr })),
        ...recorded().map(({ record }) => ({ where: `${record}, recorded`, expr: record })),
        ...alerts().map(({ alert, expr }) => ({ where: alert, expr: judging(expr) })),
      ];
      expect(left.length).toBeGreaterThan(200);
      const unanswered = async () => {
        const answered = await Promise.all(
          left.map(async (one) => ({ one, values: (await query(one.expr)).map(({ value }) => value) })),
        );
        left = answered.filter(({ values }) => answersNothing(values)).map(({ one }) => one);
        return left.length;
      };
      await until('an answer to all', async () => (await unanswered()) === 0, { everyMs: 500 }).catch((error: Error) =>
        expect(left, `what answers nothing: ${error.message}`).toEqual([]),
      );

      for (const { text } of within(commandsOf(), /promtool query instant http:\/\/localhost:9090 '(.*)'/))
        await query(text);

      // A healthy system: nothing but the watchdog is even about to fire.
      const { alerts: now } = await ask<{ alerts: Array<{ labels: { alertname: string } }> }>('alerts');
      expect(now.map(({ labels }) => labels.alertname)).toEqual(['Watchdog']);
      const { groups } = await ask<{ groups: Array<{ name: string; rules: Array<{ name: string; health: string }> }> }>(
        'rules',
      );
      expect(groups.flatMap(({ rules }) => rules).filter(({ health }) => health !== 'ok')).toEqual([]);

      const message = await until('a message', () => sink.received.find(({ path }) => path === '/chat')?.body);
      expect(message).toContain('Watchdog');
      expect(message).toContain(`${RUNBOOKS}/watchdog.md`);
      expect((await rig.alerts()).map(({ labels }) => Object.keys(labels).sort())).toEqual([['alertname', 'severity']]);
    } finally {
      await rig?.close();
      await Promise.all(products.map((product) => product.stop('SIGTERM')));
      gateway.closeAllConnections();
      await new Promise((resolve) => gateway.close(resolve));
      await Promise.all([sink.close(), ollama.close()]);
      await database.close();
    }
  },
  120_000,
);

/** Where a process answers Prometheus, as it says when it starts. */
function metricsOf(product: Product): string {
  const line = product
    .output()
    .split('\n')
    .find((one) => one.includes('the health port is open'));
  return new URL(JSON.parse(line as string).url).host;
}
