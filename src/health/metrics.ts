import type pg from 'pg';
import { within } from '../lifecycle.ts';
import type { Parts } from '../parts.ts';
import { metrics, registry, watchProcess } from '../telemetry/metrics.ts';
import { VERSION } from '../version.ts';
import { readAgents, readDependencies, readJobs, readLanes, readProcess } from './gauges.ts';
import type { HealthAnswer } from './server.ts';
import { readPostgres } from './store-gauges.ts';

/** Answers `/metrics`: at most a second old, and never fails. What cannot be read keeps the value that it had. */
export type MetricsPage = () => Promise<HealthAnswer>;

interface Options extends Pick<Parts, 'backend' | 'db' | 'dispatcher' | 'log' | 'models' | 'readiness' | 'vectors'> {
  pools: Readonly<Record<string, pg.Pool>>;
  /** What the process does; one that is a worker alone does not tell of what all have together. */
  mode: 'start' | 'api' | 'worker';
}

const REMEMBER_MS = 1_000;
/** What has to be asked for is asked no oftener than this, and not waited for any longer. */
const ASK_EVERY_MS = 5_000;
const PATIENCE_MS = 2_500;

/** Makes it, and begins to measure the process. */
export function createMetricsPage({ pools, mode, ...parts }: Options): MetricsPage {
  watchProcess();
  metrics.buildInfo.set({ version: VERSION, node: process.version, mode }, 1);
  // 0 would be an alarm about a Redis that nobody has, and counts that are new where nobody counted.
  if (parts.backend.kind !== 'redis') metrics.redisUp.remove();
  metrics.queueCountAge.remove();
  let last: { at: number; text: Promise<string> } | undefined;
  let askedAt = Number.NEGATIVE_INFINITY;
  let countedAt: number | undefined;

  async function lanes(): Promise<void> {
    const { counted_at, now } = await readLanes(parts.db);
    if (counted_at) countedAt = Date.now() - (now.getTime() - counted_at.getTime());
  }

  async function ask(): Promise<void> {
    askedAt = performance.now();
    const asked = [
      readDependencies(parts.readiness),
      ...(mode === 'worker' ? [] : [lanes(), readJobs(parts), readAgents(parts.db), readPostgres(parts.db)]),
    ];
    const told = asked.map((one) =>
      within(one, PATIENCE_MS, 'what is measured').catch((error) =>
        parts.log.debug({ err: error }, 'something could not be measured'),
      ),
    );
    await Promise.all(told);
  }

  async function render(): Promise<string> {
    if (performance.now() - askedAt >= ASK_EVERY_MS) await ask();
    readProcess(parts, pools);
    if (countedAt !== undefined) metrics.queueCountAge.set(Math.max(0, Date.now() - countedAt) / 1_000);
    return registry.metrics();
  }

  return async () => {
    if (!last || performance.now() - last.at > REMEMBER_MS) last = { at: performance.now(), text: render() };
    return { status: 200, type: registry.contentType, body: await last.text };
  };
}
