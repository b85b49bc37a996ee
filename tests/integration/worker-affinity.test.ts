import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Running } from '../../src/deps.ts';
import { holdOneModel, type OneModelHost } from '../support/one-model-host.ts';
import { until } from '../support/until.ts';
import { BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

const WORKER = {
  WORKER_LANES: 'llm',
  OLLAMA_NUM_PARALLEL: '1',
  OLLAMA_MAX_LOADED_MODELS: '1',
  MODEL_AFFINITY_SECONDS: '30',
};

describe.each(BACKENDS)('a worker whose host holds one model at a time, on %s', (backend) => {
  let world: World;
  let host: OneModelHost;
  let client: Client;
  let workers: Running[] = [];
  beforeAll(async () => {
    world = await createWorld({ backend, mode: 'start', env: { WORKER_LANES: 'webhook' } });
    for (const name of ['a', 'b', 'c'])
      world.ollama.models.push({ name: `${name}:latest`, capabilities: ['completion'] });
    client = await world.client();
  });
  afterAll(() => world.close());
  beforeEach(() => {
    host = holdOneModel(world.ollama, { loadMs: 20, runMs: 60 });
  });
  afterEach(async () => {
    for (const worker of workers) await worker.close();
    workers = [];
    await sql`truncate tasks cascade`.execute(world.db);
  });

  const work = async (more = {}) => void workers.push(await world.join('worker', { ...WORKER, ...more }));
  const submit = (model: string, more = {}) =>
    client.submit('generate', { prompt: 'x', model: `${model}:latest` }, more);
  const ran = () => host.runs.map((model) => model.replace(':latest', '')).join('');
  const rows = () =>
    world.db.selectFrom('tasks').select(['id', 'status', 'generation', 'attempt', 'failures']).orderBy('id').execute();
  const allEnd = () =>
    until('all have ended', async () => (await rows()).every(({ status }) => status === 'completed'));

  /**
   * How many began before the second model's first task though it was due. The third run is the first that passes it over, at the
   * latest; what was chosen in that time, but had to wait for the host, begins after it: as many as run at a time.
   */
  function beganTooLate(boundMs: number): number {
    const due = (host.times[2] ?? 0) + boundMs;
    return host.times.slice(0, host.runs.indexOf('b:latest')).filter((at) => at > due).length;
  }

  it('runs what waits for the model in memory together, each task once, and leaves no job behind', async () => {
    for (const model of 'abcabcabc') await submit(model);
    await work();
    await allEnd();
    expect(ran()).toBe('aaabbbccc');
    expect(host.loads).toBe(3);
    const ended = await rows();
    expect(new Set(ended.map(({ attempt, generation }) => `${attempt} ${generation}`))).toEqual(new Set(['1 0']));
    expect(await world.db.selectFrom('attempts').selectAll().execute()).toHaveLength(9);
    expect((await world.running.reconciler.runOnce()).orphans).toBe(0);
  });

  it('keeps the order of the turns where it is told so', async () => {
    for (const model of 'abab') await submit(model);
    await work({ MODEL_AFFINITY_SECONDS: '0' });
    await allEnd();
    expect(ran()).toBe('abab');
  });

  it('passes a task over for no longer than the bound', async () => {
    for (const model of 'abaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa') await submit(model);
    await work({ MODEL_AFFINITY_SECONDS: '1' });
    await until('the second model was asked', () => host.runs.length > 20 && host.runs.includes('b:latest'));
    expect(host.runs.indexOf('b:latest')).toBeGreaterThan(3);
    expect(beganTooLate(1_000)).toBeLessThanOrEqual(1);
    await allEnd();
  });

  it.each(['2', '4'])(
    'passes it over for no longer either where %s calls run at once, and the other model never stops by itself',
    async (many) => {
      for (const model of `ab${'a'.repeat(40)}`) await submit(model);
      await work({ MODEL_AFFINITY_SECONDS: '1', OLLAMA_NUM_PARALLEL: many, WORKER_CONCURRENCY: many });
      await until('the second model was asked', () => host.runs.includes('b:latest'));
      expect(host.runs.indexOf('b:latest')).toBeGreaterThan(3);
      expect(beganTooLate(1_000)).toBeLessThanOrEqual(Number(many));
      await allEnd();
      expect(host.loads).toBe(3);
    },
  );

  it('gives a task that was run before its turn back to the queue when it fails, with its order and a new job', async () => {
    const [, passed, early] = [await submit('a'), await submit('b'), await submit('a')];
    let fails = 0;
    const { script } = world.ollama;
    world.ollama.script = async (call, response) => {
      await script?.(call, response);
      if (host.runs.length !== 2 || fails++ > 0) return false;
      response.writeHead(500, { 'content-type': 'application/json' }).end('{"error":"out of luck"}');
      return true;
    };
    await work();
    await allEnd();
    expect(fails).toBe(1);
    expect(ran()).toBe('aaba');
    const byId = new Map((await rows()).map((row) => [row.id, row]));
    expect(byId.get(early.id)).toMatchObject({ attempt: 2, failures: 1, generation: 1 });
    expect(byId.get(passed.id)).toMatchObject({ attempt: 1, generation: 0 });
  });

  it('leaves those that are passed over to others: they wait, can be cancelled, and start elsewhere', async () => {
    const [, first, second] = [
      await submit('a'),
      await submit('b'),
      await submit('b'),
      await submit('a'),
      await submit('a'),
    ];
    let go: (() => void) | undefined;
    const held = new Promise<void>((resolve) => {
      go = resolve;
    });
    host.before = () => (host.runs.length === 2 ? held : undefined);
    await work();
    await until('one runs before its turn', () => ran() === 'aa');
    const states = await rows();
    expect(states.map(({ status }) => status)).toEqual(['completed', 'pending', 'pending', 'running', 'pending']);
    expect((await client.request('POST', `/api/v1/tasks/${first.id}/cancel`)).body).toMatchObject({
      status: 'cancelled',
    });

    // Another process takes the next one at once, although the first worker has passed it over.
    await work({ MODEL_AFFINITY_SECONDS: '0' });
    await until('another worker starts the next', async () => {
      const row = (await rows()).find(({ id }) => id === second.id);
      return row?.status === 'running';
    });
    go?.();
    await until('all have ended', async () => (await rows()).every(({ status }) => /completed|cancelled/.test(status)));
    expect(host.runs.filter((model) => model === 'b:latest')).toHaveLength(1);
  });
});
