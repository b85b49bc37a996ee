import { hostname } from 'node:os';
import type { Parts } from '../parts.ts';
import { LANE_DEFAULTS } from '../tasks/lanes.ts';
import { createDeliverer } from '../webhooks/deliver.ts';
import { createProgress } from './progress.ts';
import { createToolFactory } from './tools/index.ts';
import { type LaneWorkers, startWorkers } from './worker.ts';

/** Starts the workers of this process on the lanes that the configuration names. */
export function startLaneWorkers(parts: Parts): LaneWorkers {
  const { config, db, log } = parts;
  const { lanes, concurrency, leaseSeconds, maxOutputBytes } = config.worker;
  const progress = createProgress(db, log);
  // What a receiver could not reach is not told to it: without a public address, paths alone.
  const publicUrl = config.http.publicUrl ?? '';
  const workers = startWorkers({
    ...parts,
    name: `${hostname()}:${process.pid}`.slice(-100),
    lanes,
    concurrency,
    leaseMs: leaseSeconds * 1000,
    runningTasks: config.limits.user.running_tasks,
    maxOutputBytes,
    tools: createToolFactory({ ...parts, maxOutputBytes, onProgress: progress.report }),
    deliver: createDeliverer({ ...parts, publicUrl, places: concurrency ?? LANE_DEFAULTS.webhook.concurrency }),
  });
  log.info({ lanes, queue: parts.backend.kind, ...parts.kinds }, 'working');
  return {
    ...workers,
    async close(graceMs) {
      const left = await workers.close(graceMs);
      progress.close();
      return left;
    },
  };
}
