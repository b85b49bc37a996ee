import { afterEach, beforeEach, expect, it } from 'vitest';
import { newId } from '../../src/db/ids.ts';
import { type Notifications, openNotifications } from '../../src/db/notify.ts';
import { TASK_CHANNEL } from '../../src/db/tasks/transition.ts';
import { createLog } from '../../src/log.ts';
import { createRegistry } from '../../src/tasks/index.ts';
import { startWorkers } from '../../src/workers/worker.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type Lanes, openLanes } from '../support/lanes.ts';
import { until } from '../support/until.ts';

const log = createLog('silent');
let database: TestDatabase;
let lanes: Lanes;
let notifications: Notifications;
beforeEach(async () => {
  database = await createTestDatabase();
  lanes = await openLanes('redis', database);
  notifications = await openNotifications(database.url, [TASK_CHANNEL], log);
});
afterEach(async () => {
  await notifications.close();
  await lanes.close();
  await database.close();
});

it('a worker that stops does not count deliveries that failed on the way long before', async () => {
  let asked = 0;
  const workers = startWorkers({
    ...lanes,
    workflows: { advance: () => {} },
    name: 'w',
    lanes: ['webhook'],
    concurrency: () => 1,
    leaseMs: 20_000,
    everybody: 0,
    agingMs: 0,
    maxOutputBytes: 1_000,
    db: database.db,
    notifications,
    registry: createRegistry({ vectors: false }),
    tools: () => {
      throw new Error('there are no tasks here');
    },
    reports: { start: () => {}, end: async () => {} },
    deliver: async () => {
      asked++;
      throw new Error('the delivery could not be claimed');
    },
    log,
  });
  await lanes.dispatcher.enqueue([
    {
      kind: 'delivery',
      id: newId(),
      type: 'task.completed',
      lane: 'webhook',
      priority: 5,
      generation: 0,
      ready_at: new Date(0),
      queued_at: null,
      request_id: null,
    },
  ]);
  await until('it was tried', () => asked > 0);
  expect(await workers.close(1_000)).toBe(0);
});
