import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createOutbound, type Outbound } from '../../src/clients/outbound.ts';
import { newId } from '../../src/db/ids.ts';
import { settleTasks } from '../../src/db/tasks/run.ts';
import { createLog } from '../../src/log.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import { createDeliverer } from '../../src/webhooks/deliver.ts';
import { newWebhookSecret } from '../../src/webhooks/sign.ts';
import { freePort } from '../support/redis.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { settlement, useTasks } from '../support/tasks.ts';

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
  const deliver = createDeliverer({ db: database.db, outbound, box, publicUrl: '', log, timeoutMs: 400 });
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

  it('that nobody listens at is tried again', async () => {
    const { after } = await deliverTo(`http://127.0.0.1:${await freePort()}/`);
    expect(after).toMatchObject({ status: 'pending', last_error: expect.stringContaining('ECONNREFUSED') });
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
      timeoutMs: 5_000,
      places: 8,
    });
    const [hung, waiting, fine] = ids.map((id) => deliver({ id, generation: 0 }));
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
