import { hostname } from 'node:os';
import { createProbe } from '../agents/probe.ts';
import { createProber } from '../agents/prober.ts';
import { createStopTeller } from '../agents/stops.ts';
import { createEmbeddingCache, type EmbeddingCache, embedTogether } from '../clients/embeddings/index.ts';
import { createModelRights } from '../clients/model-rights.ts';
import { findEmbeddings, keepEmbeddings } from '../db/embedding-cache.ts';
import { startClearing } from '../documents/clear.ts';
import { createDocumentReader } from '../documents/reader.ts';
import type { Parts } from '../parts.ts';
import { wakesOfDeliveries } from '../queues/wakes.ts';
import { LANE_DEFAULTS, type Lane } from '../tasks/lanes.ts';
import { createSweeper } from '../vectors/sweeper.ts';
import { VERSION } from '../version.ts';
import { createDeliverer } from '../webhooks/deliver.ts';
import { createLiveTexts } from './live/index.ts';
import { createProgress } from './progress.ts';
import { createTelling } from './progress-telling.ts';
import { createPulse } from './pulse.ts';
import { createToolFactory } from './tools/index.ts';
import { type LaneWorkers, startWorkers } from './worker.ts';

/** Starts the workers of this process on the lanes that the configuration names. */
export function startLaneWorkers(parts: Parts): LaneWorkers {
  const { config, db, log } = parts;
  const { lanes, leaseSeconds, maxOutputBytes } = config.worker;
  const concurrency = concurrencyOf(config);
  const wake = (event: string, deliveries: string[]) =>
    void parts.dispatcher.enqueue(wakesOfDeliveries(event, deliveries));
  const tell = createTelling(db, (deliveries) => wake('task.progress', deliveries));
  const progress = createProgress({ db, tell, log });
  const texts = createLiveTexts({ ...parts, maxOutputBytes });
  // What a receiver could not reach is not told to it: without a public address, paths alone.
  const publicUrl = config.http.publicUrl ?? '';
  const name = `${hostname()}:${process.pid}`.slice(-100);
  const models = embedTogether(parts.models, {
    cache: config.models.embeddingCacheBytes > 0 ? cacheOf(parts) : undefined,
    // A host works on the texts of one call side by side.
    parallel: hostsOf(config),
  });
  const pulse = createPulse({
    ...{ db, name, version: VERSION, log, loading: parts.models.loading },
    lanes: new Map(lanes.map((lane) => [lane, concurrency(lane)])),
    down: () => [
      ...parts.models.down().map((model) => ({ dependency: 'ollama' as const, model })),
      ...(parts.vectors && parts.vectors.breaker.state() !== 'closed'
        ? [{ dependency: 'qdrant' as const, model: null }]
        : []),
    ],
  });
  const reader = createDocumentReader({ log });
  const workers = startWorkers({
    ...parts,
    name,
    pulse,
    lanes,
    concurrency,
    leaseMs: leaseSeconds * 1000,
    everybody: config.limits.user.running_tasks,
    agingMs: config.queue.agingMs,
    affinity: { models: parts.models, boundMs: config.models.affinityMs },
    maxOutputBytes,
    reports: {
      start: texts.start,
      end: async (attempt) => void (await Promise.all([texts.end(attempt), progress.end(attempt)])),
    },
    tools: createToolFactory({
      ...{ ...parts, models, limits: config.limits.user, most: config.vectors.most },
      ...{ maxOutputBytes, progress, emit: texts.emit, rights: createModelRights(config.models.byRole) },
      ...{ reader, maxFileBytes: config.files.maxBytes, callbacks: parts.callbacks },
    }),
    deliver: createDeliverer({
      ...parts,
      publicUrl,
      places: concurrency('webhook'),
      wake,
    }),
  });
  const sweeper = parts.vectors && createSweeper({ db, store: parts.vectors, log });
  const clearing = parts.vectors && startClearing({ db, store: parts.vectors, log });
  // Who calls agents asks them how they are.
  const prober = lanes.includes('agent') ? createProber({ ...parts, probe: createProbe(parts) }) : undefined;
  const stops = prober && createStopTeller(parts);
  log.info({ lanes, queue: parts.backend.kind, ...parts.kinds }, 'working');
  return {
    ...workers,
    async close(graceMs) {
      const stopped = [pulse.close(), sweeper?.close(), clearing?.close(), prober?.close(), stops?.close()];
      const [left] = await Promise.all([workers.close(graceMs), ...stopped]);
      reader.close();
      texts.close();
      progress.close();
      return left;
    },
  };
}

/** How many tasks of a lane run here at a time; of those that need a model host, no more than all hosts together work on. */
function concurrencyOf({ worker, models }: Parts['config']): (lane: Lane) => number {
  const room = hostsOf({ models }) * models.slots.parallel * models.slots.maxLoaded;
  return (lane) => {
    const wanted = worker.concurrency ?? LANE_DEFAULTS[lane].concurrency;
    return lane === 'llm' ? Math.min(wanted, room) : wanted;
  };
}

/** Where none is named, one is embedded. */
const hostsOf = ({ models }: Pick<Parts['config'], 'models'>) => models.hosts?.length ?? 1;

function cacheOf({ config, db, log }: Parts): EmbeddingCache {
  return createEmbeddingCache({
    maxBytes: config.models.embeddingCacheBytes,
    store: { find: (keys) => findEmbeddings(db, keys), keep: (rows) => keepEmbeddings(db, rows) },
    log,
  });
}
