import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createOutbound, type Outbound } from '../../src/clients/outbound.ts';
import { isDatabaseAway } from '../../src/db/away.ts';
import { createDb, createPool } from '../../src/db/connect.ts';
import { rescueDeliveries } from '../../src/db/deliveries.ts';
import {
  findDelivery,
  insertEndpointDelivery,
  listDeliveryAttempts,
  recoverDeliveries,
} from '../../src/db/delivery-log.ts';
import { newId } from '../../src/db/ids.ts';
import { settleTasks } from '../../src/db/tasks/run.ts';
import { endWaitingDeliveries } from '../../src/db/webhook-disable.ts';
import { insertEndpoint, removeEndpoint, TEST_EVENT } from '../../src/db/webhook-endpoints.ts';
import { createLog } from '../../src/log.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import { createDeliverer } from '../../src/webhooks/deliver.ts';
import { newWebhookSecret } from '../../src/webhooks/sign.ts';
import { freePort } from '../support/redis.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { settlement, useTasks } from '../support/tasks.ts';
import { until } from '../support/until.ts';

const { database, running, deliveriesOf } = useTasks();
const box = createSecretBox(Buffer.alloc(32, 1).toString('base64'));
const log = createLog('silent');
let sink: Sink;
let outbound: Outbound;
beforeEach(async () => {
  sink = await startSink();
  outbound = createOutbound(['127.0.0.1']);
});
afterEach(async () => {
  await outbound.close();
  await sink.close();
});

/** Delivers the end of a task once, to this URL; answers the delivery afterwards. */
async function deliverTo(url: string) {
  const secret = box.seal(newWebhookSecret()).toString('base64');
  const id = await running({ webhook: { url, events: ['task.completed'], secret } });
  await settleTasks(database.db, [settlement(id, 1)]);
  const deliver = createDeliverer({
    db: database.db,
    outbound,
    box,
    publicUrl: '',
    log,
    wake: () => {},
    timeoutMs: 400,
  });
  const [before] = await deliveriesOf(id);
  const again = await deliver({ id: before!.id, generation: 0 });
  const [after] = await deliveriesOf(id);
  return { again, after, deliver };
}

describe('an endpoint', () => {
  it.each(['says nothing', 'drips its answer'])(
    'that %s is given up after the time-out, and tried again',
    async (how) => {
      let timer: NodeJS.Timeout | undefined;
      sink.answer = (_, response) => {
        if (how === 'says nothing') return;
        response.writeHead(200);
        timer = setInterval(() => response.write('.'), 50);
      };
      const asked = Date.now();
      const { again, after } = await deliverTo(sink.url);
      clearInterval(timer);
      expect(Date.now() - asked).toBeLessThan(3_000);
      expect(after).toMatchObject({ status: 'pending', attempt: 1, last_status: null });
      expect(again?.retryInMs).toBeGreaterThan(4_000);
    },
  );

  it('does not count as failing while our own database is away; its message is sent once it is back', async () => {
    const secret = box.seal(newWebhookSecret()).toString('base64');
    const id = await running({ webhook: { url: sink.url, events: ['task.completed'], secret } });
    await settleTasks(database.db, [settlement(id, 1)]);
    const [{ id: deliveryId } = { id: '' }] = await deliveriesOf(id);
    const db = createDb(createPool({ url: database.url, max: 1, name: 'impatient', log, statementMs: 300 }));
    const deliver = createDeliverer({ db, outbound, box, publicUrl: '', log, wake: () => {} });
    await database.db.transaction().execute(async (trx) => {
      await sql`lock table tasks in access exclusive mode`.execute(trx);
      await expect(deliver({ id: deliveryId, generation: 0 })).rejects.toSatisfy(isDatabaseAway);
    });
    expect(await deliveriesOf(id)).toMatchObject([{ status: 'running', last_error: null }]);
    expect(await listDeliveryAttempts(database.db, deliveryId)).toEqual([]);
    await sql`update deliveries set lease_until = now() - interval '1 second'`.execute(database.db);
    const [given] = await rescueDeliveries(database.db, 10);
    expect(await deliver({ id: deliveryId, generation: given!.generation })).toBeUndefined();
    expect(sink.received).toHaveLength(1);
    await db.destroy();
  });

  it('is sent again what it missed, each message once, although it fails once more meanwhile', async () => {
    const { db, userId } = database;
    const given = { id: newId(), user_id: userId, name: null, url: sink.url, events: ['task.completed'] };
    const endpoint = await db
      .transaction()
      .execute((trx) => insertEndpoint(trx, { ...given, secret: box.seal(newWebhookSecret()), enabled: true }, 0));
    const missed: string[] = [];
    for (let n = 0; n < 3; n++) missed.push((await insertEndpointDelivery(db, endpoint!, 'task.completed', {})).id);
    const fail = () => sql`update deliveries set status = 'failed'`.execute(db);
    await fail();
    const sent: string[] = [];
    for await (const rows of recoverDeliveries(db, endpoint!.id, new Date(0), 2)) {
      sent.push(...rows.map(({ id }) => id));
      await fail();
    }
    expect(sent.sort()).toEqual(missed.sort());
  });

  it('that is disabled gets tests all the same, also those that wait when others of its messages are ended', async () => {
    const { db, userId } = database;
    const given = { id: newId(), user_id: userId, name: null, url: sink.url, events: ['task.completed'] };
    const endpoint = await db
      .transaction()
      .execute((trx) => insertEndpoint(trx, { ...given, secret: box.seal(newWebhookSecret()), enabled: false }, 0));
    const test = await insertEndpointDelivery(db, endpoint!, TEST_EVENT, {});
    const other = await insertEndpointDelivery(db, endpoint!, 'task.completed', {});
    const statusOf = async ({ id }: { id: string }) => (await findDelivery(db, userId, id))?.status;
    await endWaitingDeliveries(db, endpoint!.id, 'disabled');
    expect([await statusOf(test), await statusOf(other)]).toEqual(['pending', 'failed']);
    await removeEndpoint(db, userId, endpoint!.id);
    await endWaitingDeliveries(db, endpoint!.id, 'removed');
    expect(await statusOf(test)).toBe('failed');
  });

  it('that nobody listens at is tried again, and its owner is not told which address its name led to', async () => {
    const { after } = await deliverTo(`http://localhost:${await freePort()}/`);
    expect(after).toMatchObject({ status: 'pending', last_error: 'The endpoint gave no answer (ECONNREFUSED).' });
  });

  it('on a private address is never called, and not tried again', async () => {
    await outbound.close();
    outbound = createOutbound([]);
    const { again, after } = await deliverTo(sink.url);
    expect(again).toBeUndefined();
    expect(after).toMatchObject({ status: 'failed', last_error: expect.stringContaining('EGRESS_ALLOW') });
    expect(sink.received).toEqual([]);
  });

  it('is not told twice by a second job, nor by one of another generation or of nothing', async () => {
    const { after, deliver } = await deliverTo(sink.url);
    expect(after?.status).toBe('delivered');
    await deliver({ id: after!.id, generation: 0 });
    await deliver({ id: after!.id, generation: 1 });
    await deliver({ id: newId(), generation: 0 });
    expect(sink.received).toHaveLength(1);
  });

  it('that hangs gets its further messages later, without an attempt, while others get theirs', async () => {
    const other = await startSink();
    const secret = box.seal(newWebhookSecret()).toString('base64');
    const ids = [];
    for (const url of [sink.url, `${sink.url}?another`, other.url]) {
      const id = await running({ webhook: { url, events: ['task.completed'], secret } });
      await settleTasks(database.db, [settlement(id, 1)]);
      ids.push((await deliveriesOf(id))[0]!.id);
    }
    sink.answer = () => {};
    const deliver = createDeliverer({
      db: database.db,
      outbound,
      box,
      publicUrl: '',
      log,
      wake: () => {},
      timeoutMs: 5_000,
      places: 8,
    });
    const hung = deliver({ id: ids[0]!, generation: 0 });
    await until('it hangs', () => sink.received.length === 1);
    const [waiting, fine] = ids.slice(1).map((id) => deliver({ id, generation: 0 }));
    expect(await fine).toBeUndefined();
    expect(other.received).toHaveLength(1);
    const later = await waiting;
    expect(later?.retryInMs).toBeGreaterThan(4_000);
    const row = await database.db
      .selectFrom('deliveries')
      .selectAll()
      .where('id', '=', ids[1]!)
      .executeTakeFirstOrThrow();
    expect(row).toMatchObject({ status: 'pending', attempt: 0, lease_until: null, generation: 0 });
    expect(Math.abs(row.ready_at.getTime() - Date.now() - (later?.retryInMs ?? 0))).toBeLessThan(1_000);
    expect(sink.received).toHaveLength(1);
    expect((await hung)?.retryInMs).toBeGreaterThan(4_000);
    sink.answer = undefined;
    expect(await deliver({ id: ids[1]!, generation: 0 })).toBeUndefined();
    expect(sink.received).toHaveLength(2);
    await other.close();
  });
});
