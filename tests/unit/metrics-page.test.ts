import { beforeEach, expect, it } from 'vitest';
import { type Breaker, createBreaker } from '../../src/clients/breaker.ts';
import { TaskError } from '../../src/errors.ts';
import { createMetricsPage } from '../../src/health/metrics.ts';
import { createProbes } from '../../src/health/probes.ts';
import { createReadiness } from '../../src/health/readiness.ts';
import { createLog } from '../../src/log.ts';
import { metrics } from '../../src/telemetry/metrics.ts';

const log = createLog('silent');
const away = () => {
  throw new TaskError('upstream_unavailable', 'cannot be reached', { later: true, outage: 'away' });
};

/** Which hosts answer now. */
let answering: string[];
beforeEach(() => {
  answering = ['host-1', 'host-2'];
  metrics.modelHostUp.reset();
});

/** What a worker shows that has called no model. */
async function shown(): Promise<string> {
  const models = {
    breaker: { state: () => 'closed' },
    hostStates: () => [],
    health: async () =>
      ['host-1', 'host-2'].map((host) => ({ host, version: answering.includes(host) ? '0.32' : undefined })),
  };
  const parts = {
    ...{ models, db: { isWritable: true }, vectors: undefined, log },
    backend: { kind: 'redis', isUp: () => true, flaw: () => undefined },
    dispatcher: { counts: async () => ({}) },
    kinds: { database: 'Postgres', models: 'Ollama', vectors: 'Qdrant' },
  } as never;
  const readiness = createReadiness(createProbes(parts, true));
  const page = createMetricsPage({ ...(parts as object), readiness, pools: {}, mode: 'worker' } as never);
  return (await page()).body;
}

it('a process that calls no models sees which hosts answer', async () => {
  answering = ['host-2'];
  const text = await shown();
  expect(text).toContain('sutazai_model_host_up{host="host-1"} 0\n');
  expect(text).toContain('sutazai_model_host_up{host="host-2"} 1\n');
  answering = [];
  expect(await shown()).toContain('sutazai_model_host_up{host="host-2"} 0\n');
});

it('a process that counts no queues tells of no age of their counts', async () => {
  expect(await shown()).not.toMatch(/^sutazai_queue_count_age_seconds /m);
});

it('a breaker closes when its question is answered to somebody else, and not before its time', async () => {
  const timing = { failures: 1, minOpenMs: 40, maxOpenMs: 40 };
  const opened = async (probe?: () => Promise<void>): Promise<Breaker> => {
    const breaker = createBreaker({ name: 'Qdrant', probe, log, timing });
    await breaker.run(async () => away()).catch(() => {});
    return breaker;
  };
  const [probed, unprobed] = await Promise.all([opened(async () => {}), opened()]);
  probed.answered();
  expect(probed.state()).toBe('open');
  await expect.poll(() => [probed.state(), unprobed.state()]).toEqual(['half_open', 'half_open']);
  for (const one of [probed, unprobed]) one.answered();
  expect([probed.state(), unprobed.state()]).toEqual(['closed', 'half_open']);
});
