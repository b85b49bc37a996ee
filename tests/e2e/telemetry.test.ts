import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { type Collector, startCollector } from '../support/collector.ts';
import { type HttpFront, startHttpFront } from '../support/http-front.ts';
import { type Sutazai, spawnSutazai } from '../support/process.ts';
import { sampleOf } from '../support/samples.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const PROMPT = `prompt-${randomBytes(6).toString('hex')}`;
const SECRET_PATH = `path-${randomBytes(6).toString('hex')}`;

/** A trace that somebody else began. */
function newTrace() {
  const [traceId, spanId] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')];
  return { traceId, spanId, headers: { traceparent: `00-${traceId}-${spanId}-01` } };
}

describe('an API and a worker of their own', () => {
  let collector: Collector;
  let sink: Sink;
  let qdrant: HttpFront;
  let world: World;
  let worker: Sutazai;
  let workerUrl: string;
  let admin: Client;
  let before: string;

  const scrape = async () => (await admin.request<string>('GET', '/metrics')).body;

  beforeAll(async () => {
    [collector, sink, qdrant] = await Promise.all([startCollector(), startSink(), startHttpFront(inject('qdrantUrl'))]);
    sink.answer = (n, response) => {
      const forAgent = sink.received[n]?.path === '/hook/agent';
      response.writeHead(forAgent ? 200 : 204, { 'content-type': 'application/json' }).end(forAgent ? '{"a":1}' : '');
    };
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_HEADERS: 'x-team=blue%20one',
      QDRANT_URL: qdrant.url,
    };
    world = await createWorld({ backend: 'redis', mode: 'api', env });
    worker = spawnSutazai(['worker'], { ...world.env, LOG_LEVEL: 'debug', HEALTH_PORT: '0' });
    admin = await world.client('admin');
    before = await scrape();
    workerUrl = await until('the worker is up', () => /"url":"([^"]+)".*the health port/.exec(worker.output())?.[1]);
  });
  afterAll(async () => {
    await worker.kill('SIGTERM');
    await world.close();
    await Promise.all([collector.close(), sink.close(), qdrant.close()]);
  });

  /** The spans of a trace, once these are among them. */
  async function traceOf(traceId: string, ...names: string[]) {
    const own = () => collector.spans.filter((span) => span.traceId === traceId);
    await until(`the spans ${names}`, () => names.every((name) => own().some((span) => span.name === name)));
    return own();
  }

  it('tell of one trace, from the request to the webhook', async () => {
    const { traceId, spanId, headers } = newTrace();
    const body = {
      type: 'chat',
      input: { messages: [{ role: 'user', content: PROMPT }] },
      webhook: { url: `${sink.url}/${SECRET_PATH}` },
    };
    const { status, body: task } = await admin.request<{ id: string }>('POST', '/api/v1/tasks', body, headers);
    expect(status).toBe(202);
    await admin.waitForEnd(task.id);
    await until('the webhook came', () => sink.received.length === 1);
    const spans = await traceOf(traceId, 'POST /api/v1/tasks', 'process llm', 'process webhook', 'UPDATE deliveries');
    const known = new Set([spanId, ...spans.map((span) => span.spanId)]);
    expect(spans.filter(({ parentSpanId }) => !known.has(parentSpanId ?? '')).map(({ name }) => name)).toEqual([]);
    const span = (name: string) => spans.find((one) => one.name === name);
    const parentOf = (name: string) =>
      spans.find((one) => one.spanId === span(name)?.parentSpanId)?.name ?? span(name)?.parentSpanId;
    expect(parentOf('POST /api/v1/tasks')).toBe(spanId);
    expect(parentOf('send llm')).toBe('POST /api/v1/tasks');
    expect(parentOf('INSERT tasks')).toBe('send llm');
    expect(parentOf('process llm')).toBe('send llm');
    expect(parentOf('chat tinyllama:latest')).toBe('process llm');
    expect(parentOf('UPDATE tasks')).toBe('process llm');
    expect(parentOf('process webhook')).toBe('send llm');
    expect(parentOf('POST')).toBe('process webhook');
    expect(span('POST /api/v1/tasks')?.attributes).toMatchObject({
      ...{ 'http.request.method': 'POST', 'http.route': '/api/v1/tasks', 'http.response.status_code': 202 },
    });
    expect(span('process llm')?.attributes).toMatchObject({
      ...{ 'messaging.operation.type': 'process', 'messaging.destination.name': 'llm' },
      ...{ 'messaging.message.id': task.id, 'sutazai.task.type': 'chat', 'sutazai.task.outcome': 'completed' },
    });
    expect(span('chat tinyllama:latest')?.attributes).toMatchObject({
      ...{ 'gen_ai.operation.name': 'chat', 'gen_ai.provider.name': 'ollama', 'server.address': 'host-1' },
      ...{ 'gen_ai.request.model': 'tinyllama:latest', 'gen_ai.usage.output_tokens': expect.any(Number) },
    });
    expect(span('UPDATE tasks')?.attributes).toMatchObject({ 'db.system.name': 'postgresql' });
    expect(new Set(spans.map(({ resource }) => resource['service.instance.id'])).size).toBe(2);
    expect(collector.headers()).toMatchObject({ 'x-team': 'blue one' });
    for (const given of [world.ollama.calls.at(-1)?.headers, sink.received[0]?.headers])
      expect(given?.traceparent).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`));
    expect(worker.output()).toMatch(new RegExp(`"trace_id":"${traceId}".*"task_id":"${task.id}".*an attempt ended`));
    for (const secret of [PROMPT, SECRET_PATH]) expect(JSON.stringify(collector.spans)).not.toContain(secret);
  });

  it('take the trace along to agents, to Qdrant, and to the steps of a workflow', async () => {
    const agent = { name: 'there', type: 'http', endpoint: `${sink.url}/agent`, config: {} };
    expect((await admin.request('POST', '/api/v1/agents', agent)).status).toBe(201);
    expect((await admin.request('POST', '/api/v1/collections', { name: 'c' })).status).toBe(201);
    const steps = [
      { id: 'ask', type: 'agent.run', input: { agent: 'there', input: {} } },
      { id: 'keep', type: 'vector.upsert', input: { collection: 'c', points: [{ text: PROMPT }] }, needs: ['ask'] },
    ];
    const { traceId, headers } = newTrace();
    const given = { type: 'workflow', input: { steps } };
    const { body } = await admin.request<{ id: string }>('POST', '/api/v1/tasks', given, headers);
    expect(await admin.waitForEnd(body.id)).toMatchObject({ status: 'completed' });
    const spans = await traceOf(traceId, 'process system', 'process agent', 'process vector', 'invoke_agent there');
    expect(spans.map(({ name }) => name).join()).toMatch(/embeddings all-minilm:latest.*upsert /);
    const told = [...sink.received, ...qdrant.calls].filter(({ headers: { traceparent } }) =>
      traceparent?.includes(traceId),
    );
    for (const path of ['/hook/agent', '/points'])
      expect(
        told.some((call) => call.path?.includes(path)),
        path,
      ).toBe(true);
    expect(JSON.stringify(collector.spans)).not.toContain(PROMPT);
  });

  it('begin no traces with what they do for nobody', () => {
    const roots = collector.spans.filter(({ parentSpanId }) => parentSpanId === undefined);
    expect(roots.filter(({ name }) => !/^(GET|POST) \//.test(name)).map(({ name }) => name)).toEqual([]);
  });

  it('show at /metrics what they counted, the worker on its health port', async () => {
    expect((await world.anonymous.request('GET', '/metrics')).status).toBe(401);
    await admin.request('POST', '/api/v1/monitoring/queues/embed/pause');
    await admin.submit('embed', { input: 'it waits' });
    await admin.submit('echo', { message: 'later' }, { delay_seconds: 3_600 });
    const refused = await admin.request('POST', '/api/v1/tasks', { type: 'echo', input: {} });
    expect(refused.status).toBe(422);
    const lane = (name: string, status: string) => ({ lane: name, status });
    const api = await until('the counts are new', async () => {
      const text = await scrape();
      return sampleOf(text, 'sutazai_queue_tasks', lane('embed', 'pending')) === 1 && text;
    });
    const grown = (name: string, labels = {}) => sampleOf(api, name, labels) - sampleOf(before, name, labels);
    const tasks = { method: 'POST', route: '/api/v1/tasks' };
    expect(grown('sutazai_http_requests_total', { ...tasks, status_class: '2xx' })).toBe(4);
    expect(grown('sutazai_http_requests_total', { ...tasks, status_class: '4xx' })).toBe(1);
    expect(grown('sutazai_http_request_duration_seconds_count', { ...tasks, status_class: '2xx' })).toBe(4);
    expect(grown('sutazai_http_problems_total', { code: 'validation_failed' })).toBe(1);
    expect(grown('sutazai_auth_failures_total', { reason: 'no_credential' })).toBe(1);
    expect(grown('sutazai_tasks_accepted_total', { lane: 'llm', type: 'chat' })).toBe(1);
    expect(sampleOf(api, 'sutazai_queue_tasks', lane('system', 'scheduled'))).toBe(1);
    expect(sampleOf(api, 'sutazai_queue_oldest_seconds', lane('embed', 'pending'))).toBeGreaterThan(0);
    expect(sampleOf(api, 'sutazai_queue_paused', { lane: 'embed' })).toBe(1);
    expect(sampleOf(api, 'sutazai_queue_workers', { lane: 'llm' })).toBe(1);
    expect(sampleOf(api, 'sutazai_queue_slots', { lane: 'vector' })).toBeGreaterThan(0);
    expect(sampleOf(api, 'sutazai_queue_jobs', { lane: 'system', state: 'delayed' })).toBe(1);
    for (const name of ['sutazai_redis_up', 'sutazai_build_info']) expect(sampleOf(api, name)).toBe(1);
    for (const dependency of ['database', 'queues', 'models', 'vectors'])
      expect([dependency, sampleOf(api, 'sutazai_dependency_up', { dependency })]).toEqual([dependency, 1]);
    expect(api).toMatch(/^sutazai_breaker_state\{dependency="qdrant"\} 0$/m);
    expect(api).toMatch(/^sutazai_database_pool_connections\{pool="main",state="idle"\} \d/m);
    for (const name of ['nodejs_eventloop_lag_p99_seconds', 'process_cpu_seconds_total'])
      expect(sampleOf(api, name)).toBeGreaterThan(0);

    const answer = await fetch(`${workerUrl}/metrics`);
    expect(answer.headers.get('content-type')).toContain('text/plain; version=0.0.4');
    const text = await answer.text();
    const chat = { lane: 'llm', type: 'chat' };
    expect(sampleOf(text, 'sutazai_attempts_total', { ...chat, outcome: 'completed' })).toBe(1);
    expect(sampleOf(text, 'sutazai_tasks_ended_total', { ...chat, status: 'completed' })).toBe(1);
    for (const name of ['wait', 'run']) expect(sampleOf(text, `sutazai_task_${name}_seconds_count`, chat)).toBe(1);
    expect(sampleOf(text, 'sutazai_task_run_seconds_sum', chat)).toBeGreaterThan(0);
    const model = { model: 'tinyllama:latest', host: 'host-1' };
    expect(sampleOf(text, 'sutazai_model_calls_total', { ...model, outcome: 'ok' })).toBe(1);
    expect(sampleOf(text, 'sutazai_model_tokens_total', { ...model, direction: 'output' })).toBeGreaterThan(0);
    expect(sampleOf(text, 'sutazai_model_host_up', { host: 'host-1' })).toBe(1);
    expect(sampleOf(text, 'sutazai_agent_calls_total', { agent_type: 'http', outcome: 'ok' })).toBe(1);
    expect(sampleOf(text, 'sutazai_webhook_deliveries_total', { outcome: 'delivered' })).toBe(1);
    // What has not happened yet is there as well, or its first time would not be seen to grow.
    expect(text).toMatch(/^sutazai_settles_fenced_total\{lane="llm",type="chat"\} 0$/m);
    expect(text).toMatch(/^sutazai_model_loads_total\{model="tinyllama:latest",host="host-1"\} 0$/m);
    // What all have together, the API tells.
    expect(text).not.toMatch(/^sutazai_queue_tasks\{/m);
  });
});
