import type { KyselyPlugin } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createUserLimits } from '../../src/api/limits/user-limits.ts';
import { LIMITS_CHANNEL, setUserLimits } from '../../src/db/limits.ts';
import { type Notifications, openNotifications } from '../../src/db/notify.ts';
import { createLog } from '../../src/log.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { storeUser } from '../support/tasks.ts';
import { until } from '../support/until.ts';

const log = createLog('silent');
const defaults = { waiting_tasks: 10, running_tasks: 0, tokens_per_day: 0, requests_per_minute: 0 };

describe('the limits of users in a process', () => {
  let database: TestDatabase;
  let notifications: Notifications;
  beforeEach(async () => {
    database = await createTestDatabase();
    notifications = await openNotifications(database.url, [LIMITS_CHANNEL], log);
  });
  afterEach(async () => {
    await notifications.close();
    await database.close();
  });

  it('are those that were set while they were read for the first time', async () => {
    const userId = await storeUser(database.db);
    let [isRead, arrive] = [false, () => {}];
    const late = new Promise<void>((resolve) => {
      arrive = resolve;
    });
    const slow: KyselyPlugin = {
      transformQuery: ({ node }) => node,
      async transformResult({ result }) {
        isRead = true;
        await late;
        return result;
      },
    };
    const opening = createUserLimits({ db: database.db.withPlugin(slow), notifications, defaults, log });
    await until('they were read', () => isRead);
    const told = new Promise<void>((resolve) => {
      notifications.on(LIMITS_CHANNEL, () => resolve());
    });
    await setUserLimits(database.db, userId, { waiting_tasks: 3 });
    await told;
    arrive();
    const limits = await opening;
    await until('the new one holds', () => limits.of(userId).waiting_tasks === 3);
    expect(limits.of('somebody else')).toEqual(defaults);
    await limits.close();
  });
});
