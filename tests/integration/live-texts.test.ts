import { type AddressInfo, createServer } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDb, createPool } from '../../src/db/connect.ts';
import { newId } from '../../src/db/ids.ts';
import { type Notifications, openNotifications } from '../../src/db/notify.ts';
import type { ClaimedTask } from '../../src/db/tasks/run.ts';
import { LIVE_CHANNEL, type Piece, parsePiece } from '../../src/db/tasks/streams.ts';
import { TASK_CHANNEL } from '../../src/db/tasks/transition.ts';
import { createLog } from '../../src/log.ts';
import { createRunningAttempts } from '../../src/workers/attempt.ts';
import { createLiveTexts } from '../../src/workers/live/index.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';

const log = createLog('silent');
let database: TestDatabase;
let notifications: Notifications;
const heard: Piece[] = [];
beforeAll(async () => {
  database = await createTestDatabase();
  notifications = await openNotifications(database.url, [TASK_CHANNEL, LIVE_CHANNEL], log);
  notifications.on(LIVE_CHANNEL, (payload) => heard.push(parsePiece(payload)!));
});
afterAll(async () => {
  await notifications.close();
  await database.close();
});

const running = createRunningAttempts();
/** A running attempt of a task whose events are read. */
const attemptOf = (id: string) =>
  running.start({
    task: { id, attempt: 1, streamed: true, timeout_ms: 60_000 } as ClaimedTask,
    askedAt: performance.now(),
  });
const textOf = (id: string) => heard.flatMap(({ taskId, text }) => (taskId === id ? [text] : [])).join('');

/** Live texts with one connection, which `use` may keep. */
async function withTexts(
  use: (texts: ReturnType<typeof createLiveTexts>, pool: ReturnType<typeof createPool>) => Promise<void>,
  url = database.url,
): Promise<void> {
  const pool = createPool({ url, max: 1, name: 'texts', log });
  const db = createDb(pool);
  const texts = createLiveTexts({ db, notifications, maxOutputBytes: 1_000_000, log });
  await use(texts, pool).finally(async () => {
    texts.close();
    await db.destroy();
  });
}

it('what is said while another text is being published is published after it, also where nothing more is said', () =>
  withTexts(async (texts, pool) => {
    const [first, second] = [attemptOf(newId()), attemptOf(newId())];
    texts.start(first);
    texts.start(second);
    const kept = await pool.connect();
    texts.emit(first, 'first');
    await until('the first is on its way', () => pool.waitingCount > 0);
    texts.emit(second, 'second');
    kept.release();
    await until('both are there', () => textOf(first.task.id) === 'first' && textOf(second.task.id) === 'second');
    for (const one of [first, second]) running.end(one);
  }));

it('the end of a text waits only so long where it cannot be published, and does not ask all the time', async () => {
  let asked = 0;
  const away = createServer((socket) => {
    asked++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => away.listen(0, '127.0.0.1', resolve));
  const { port } = away.address() as AddressInfo;
  await withTexts(async (texts) => {
    const attempt = attemptOf(newId());
    texts.start(attempt);
    texts.emit(attempt, 'all of it');
    const began = performance.now();
    await texts.end(attempt);
    expect(performance.now() - began).toBeLessThan(3_000);
    expect(asked).toBeGreaterThan(0);
    expect(asked).toBeLessThan(20);
    running.end(attempt);
  }, `postgres://a:a@127.0.0.1:${port}/a`);
  await new Promise((resolve) => away.close(resolve));
});
