import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { startSink } from '../support/sink.ts';
import { until } from '../support/until.ts';
import { asDescribed, useWebhooks } from '../support/webhooks.ts';

describe('a webhook', () => {
  const { here, make, verified, heard, deliveries, ended, waiting, endpoint, read } = useWebhooks();

  const run = () => here.client.runTask('echo', { message: 'x' });
  const answer = (status: number) => {
    here.sink.answer = (_, response) => void response.writeHead(status).end();
  };
  const failingSince = (id: string, ago: string) =>
    sql`update webhook_endpoints set failing_since = now() - ${ago}::interval where id = ${id}`.execute(here.world.db);
  const disabled = (id: string) =>
    until('it is disabled', async () => {
      const found = await endpoint(id);
      return !found.enabled && found;
    });

  it('that answers 410 is disabled, and what waits for it ends', async () => {
    const { id } = await make();
    answer(503);
    await run();
    await heard(1);
    const [first] = await deliveries(`webhooks/${id}`);
    await waiting(first!.id);
    await sql`update deliveries set ready_at = now() + interval '1 hour', generation = generation + 1
      where id = ${first!.id}`.execute(here.world.db);
    answer(410);
    await run();
    expect(await disabled(id)).toMatchObject({ disabled_reason: 'gone', disabled_at: expect.any(String) });
    expect(await ended(first!.id)).toMatchObject({
      status: 'failed',
      attempt: 1,
      last_error: 'The webhook is disabled.',
    });
    await run();
    expect(here.sink.received).toHaveLength(2);
    expect((await deliveries(`webhooks/${id}`)).map(({ status }) => status)).toEqual(['failed', 'failed', 'failed']);
  });

  it('that has failed for five days is disabled with its next failure, and its owner is told', async () => {
    const { id } = await make({ name: 'broken' });
    const [other, deaf] = [await startSink(), await startSink()];
    // Without `events` a webhook hears of it too.
    await make({ url: other.url });
    await make({ url: deaf.url, events: ['webhook.disabled'], enabled: false });
    answer(500);
    await failingSince(id, '4 days 23 hours');
    const before = await run();
    await heard(1);
    await waiting((await deliveries(`tasks/${before.id}`))[0]!.id);
    expect(await endpoint(id)).toMatchObject({ enabled: true, disabled_reason: null });
    await failingSince(id, '5 days 1 minute');
    await run();
    const off = await disabled(id);
    expect(off).toMatchObject({ disabled_reason: 'failing' });
    const told = await until('the word of it', () =>
      other.received.find((one) => JSON.parse(one.body).type === 'webhook.disabled'),
    );
    expect(asDescribed(JSON.parse(told.body))).toMatchObject({
      type: 'webhook.disabled',
      data: { webhook_id: id, name: 'broken', url: here.sink.url, reason: 'failing' },
    });
    expect(deaf.received).toEqual([]);
    const admin = await here.world.client('admin');
    const audit = await admin.request('GET', `/api/v1/audit?object_id=${id}&action=webhook.disable`);
    expect(audit.body.data).toMatchObject([{ outcome: 'ok', actor_id: null, details: { reason: 'failing' } }]);
    await Promise.all([other, deaf].map((one) => one.close()));
  });

  it('that succeeds once has five days again, also when it is enabled or moved', async () => {
    const { id } = await make();
    await failingSince(id, '6 days');
    await run();
    await until('its success is known', async () => (await endpoint(id)).failing_since === null);
    expect(await endpoint(id)).toMatchObject({ enabled: true, last_success_at: expect.any(String) });
    for (const change of [{ url: `${here.sink.url}?moved` }, { enabled: true }]) {
      await failingSince(id, '6 days');
      const { body } = await here.client.request('PATCH', `/api/v1/webhooks/${id}`, change);
      expect(body).toMatchObject({ failing_since: null, enabled: true });
    }
    await failingSince(id, '6 days');
    const { body } = await here.client.request('PATCH', `/api/v1/webhooks/${id}`, { name: 'renamed' });
    expect(body.failing_since).not.toBeNull();
  });

  it('that was enabled again hears what comes, and is told of nothing twice', async () => {
    const { id } = await make();
    answer(410);
    await run();
    await disabled(id);
    here.sink.answer = undefined;
    await here.client.request('PATCH', `/api/v1/webhooks/${id}`, { enabled: true });
    const { id: taskId } = await run();
    await heard(2);
    expect(verified(1)).toMatchObject({ data: { id: taskId } });
    expect(await endpoint(id)).toMatchObject({ enabled: true, disabled_reason: null, disabled_at: null });
  });

  it('that was disabled while its message waited in the lane is not called when its turn comes', async () => {
    const { id } = await make();
    answer(503);
    await run();
    await heard(1);
    const [one] = await deliveries(`webhooks/${id}`);
    await waiting(one!.id);
    await sql`update webhook_endpoints set enabled = false, disabled_reason = 'owner', disabled_at = now() where id = ${id}`.execute(
      here.world.db,
    );
    await until('its turn', async () => (await read(one!.id)).status === 'failed');
    expect(here.sink.received).toHaveLength(1);
  });

  it('that moves is called at its new address by what waits, with the secret of then', async () => {
    const { id } = await make();
    answer(503);
    await run();
    await heard(1);
    await waiting((await deliveries(`webhooks/${id}`))[0]!.id);
    const other = await startSink();
    await here.client.request('PATCH', `/api/v1/webhooks/${id}`, { url: other.url });
    await until('the second attempt', () => other.received[0]);
    expect(await ended((await deliveries(`webhooks/${id}`))[0]!.id)).toMatchObject({
      status: 'delivered',
      url: other.url,
    });
    await other.close();
  });

  it('is called by nobody whose worker stops; the message is given back, and another worker sends it', async () => {
    const { id } = await make();
    here.sink.answer = () => {};
    const own = await here.client.submit('echo', { message: 'x' }, { webhook: { url: here.sink.url } });
    await heard(2);
    expect((await deliveries(`webhooks/${id}`))[0]).toMatchObject({ status: 'running', attempt: 1 });
    const left = await here.world.running.close();
    expect(left).toBe(0);
    const rows = await here.world.db
      .selectFrom('deliveries')
      .select(['status', 'attempt', 'lease_until'])
      .where('task_id', '=', own.id)
      .execute();
    expect(rows).toEqual(Array(2).fill({ status: 'pending', attempt: 0, lease_until: null }));
    here.sink.answer = undefined;
    await here.world.join('worker');
    await until('both messages again', () => here.sink.received.length >= 4);
    const ids = here.sink.received.map(({ headers }) => headers['webhook-id']);
    expect(new Set(ids.slice(0, 2))).toEqual(new Set(ids.slice(2)));
  });
});
