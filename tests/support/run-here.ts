import * as v from 'valibot';
import { createModelRights } from '../../src/clients/model-rights.ts';
import { openNotifications } from '../../src/db/notify.ts';
import { TASK_CHANNEL } from '../../src/db/tasks/transition.ts';
import { createLog } from '../../src/log.ts';
import { defineTask } from '../../src/tasks/define.ts';
import { echo } from '../../src/tasks/echo.ts';
import type { Tools } from '../../src/tasks/tools.ts';
import { createRunningAttempts } from '../../src/workers/attempt.ts';
import { createClaims } from '../../src/workers/claims.ts';
import { createLiveTexts } from '../../src/workers/live/index.ts';
import { createProgress } from '../../src/workers/progress.ts';
import { createTelling } from '../../src/workers/progress-telling.ts';
import { runTask } from '../../src/workers/run.ts';
import { createToolFactory } from '../../src/workers/tools/index.ts';
import { callbacksOf, type World } from './world.ts';

const log = createLog('silent');

/** A worker in which a test says what a task does, for a world whose own workers leave its lane alone. */
export interface WorkerHere {
  /** Claims a task, lets `work` do it, and settles it. */
  run(id: string, work: (tools: Tools) => Promise<void>, generation?: number): Promise<void>;
  /** Stops the one that runs, as a cancel does. */
  cancel(id: string): void;
  close(): Promise<void>;
}

/** Makes it from the parts of the real one; only BullMQ is left out. */
export async function startWorkerHere(world: World, { maxOutputBytes = 50_000_000 } = {}): Promise<WorkerHere> {
  const { db } = world;
  const notifications = await openNotifications(world.databaseUrl, [TASK_CHANNEL], log);
  const progress = createProgress({ db, tell: createTelling(db, () => {}), log });
  const texts = createLiveTexts({ db, notifications, maxOutputBytes, log });
  const limits = { everybody: 0, agingMs: 0 };
  const heard = { onCalled: () => {}, onHeld: () => {}, onError: () => {} };
  const claims = createClaims({ db, name: 'here', leaseMs: 60_000, log, ...limits, ...heard });
  const running = createRunningAttempts();
  const nothing = undefined as never;
  const tools = createToolFactory({
    ...{ db, models: nothing, vectors: undefined, outbound: nothing, maxOutputBytes, log },
    ...{
      progress,
      emit: texts.emit,
      dispatcher: nothing,
      places: nothing,
      workflows: nothing,
      limits: nothing,
      most: { collections: 0, documents: 0, points: 0 },
    },
    rights: createModelRights({}),
    ...{ reader: nothing, maxFileBytes: 0, box: nothing, callbacks: callbacksOf(world) },
  });
  return {
    async run(id, work, generation = 0) {
      const type = defineTask({
        ...echo,
        output: v.unknown(),
        run: async (_, given) => {
          await work(given);
          return { message: 'done' };
        },
      });
      await runTask(
        { id, generation },
        {
          registry: { find: () => type, list: () => [type], all: () => [type] },
          ...{ running, tools, claim: claims.claim, settle: claims.settle, maxOutputBytes, log },
          reports: {
            start: texts.start,
            end: async (attempt) => void (await Promise.all([texts.end(attempt), progress.end(attempt)])),
          },
          onSettled: async () => {},
          ended: () => {},
        },
      );
    },
    cancel: (id) => running.find(id)?.stop('cancelled'),
    async close() {
      texts.close();
      progress.close();
      await notifications.close();
    },
  };
}
