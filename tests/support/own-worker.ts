import { createModelRights } from '../../src/clients/model-rights.ts';
import { openNotifications } from '../../src/db/notify.ts';
import { acceptTasks, type NewTask } from '../../src/db/tasks/accept.ts';
import { TASK_CHANNEL } from '../../src/db/tasks/transition.ts';
import { createLog } from '../../src/log.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import { createDispatcher } from '../../src/queues/dispatcher.ts';
import { createPlaces } from '../../src/queues/places.ts';
import { createRegistry } from '../../src/tasks/index.ts';
import { createProgress } from '../../src/workers/progress.ts';
import { createTelling } from '../../src/workers/progress-telling.ts';
import { createToolFactory } from '../../src/workers/tools/index.ts';
import { startWorkers } from '../../src/workers/worker.ts';
import { newTask } from './tasks.ts';
import { type Backend, callbacksOf, type World } from './world.ts';

/** A worker of the lane `agent` beside a world that has none, with task types of a test's own. */
export interface OwnWorker {
  /** Accepts a task of one of its types and adds its job; answers the id. */
  submit(userId: string, type: string, more?: Partial<NewTask>): Promise<string>;
  close(): Promise<void>;
}

/** Starts it, from the parts of the real one. */
export async function startOwnWorker(
  world: World,
  types: unknown[],
  { concurrency = 1, everybody = 0 } = {},
): Promise<OwnWorker> {
  const log = createLog('silent');
  const { db, env, databaseUrl } = world;
  const kind = env.QUEUE_BACKEND as Backend;
  const prefix = env.QUEUE_PREFIX as string;
  const backend = await openQueueBackend({ kind, redisUrl: env.REDIS_URL, databaseUrl, prefix, workers: 1, log });
  const agingMs = 600_000;
  const dispatcher = createDispatcher(backend, { completed: 100, failed: 100, agingMs }, log);
  const places = createPlaces({ db, dispatcher, everybody, agingMs, log });
  const notifications = await openNotifications(databaseUrl, [TASK_CHANNEL], log);
  const progress = createProgress({ db, tell: createTelling(db, () => {}), log });
  const nothing = undefined as never;
  const maxOutputBytes = 100_000;
  const workers = startWorkers({
    ...{ name: 'own', lanes: ['agent'], concurrency: () => concurrency, leaseMs: 60_000, maxOutputBytes },
    ...{ db, backend, dispatcher, places, notifications, log, everybody, agingMs, workflows: { advance: () => {} } },
    registry: createRegistry({ vectors: false }, types),
    tools: createToolFactory({
      ...{ db, models: nothing, vectors: undefined, outbound: nothing, maxOutputBytes, log, emit: () => {} },
      ...{
        progress,
        dispatcher,
        places,
        limits: nothing,
        most: { collections: 0, documents: 0, points: 0 },
        reader: nothing,
        maxFileBytes: 0,
      },
      ...{ rights: createModelRights({}), callbacks: callbacksOf(world), box: nothing, workflows: nothing },
    }),
    reports: { start: () => {}, end: async (attempt) => progress.end(attempt) },
    deliver: nothing,
  });
  return {
    async submit(userId, type, more = {}) {
      const rows = await acceptTasks(db, [newTask(userId, { type, lane: 'agent', watched: true, ...more })]);
      await dispatcher.enqueue(rows.map((row) => ({ ...row, kind: 'task' as const })));
      return rows[0]?.id as string;
    },
    async close() {
      await workers.close(1_000);
      progress.close();
      await notifications.close();
      await backend.close();
    },
  };
}
