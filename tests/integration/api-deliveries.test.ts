import { describe, expect, it } from 'vitest';
import { expectProblem } from '../support/problem.ts';
import { until } from '../support/until.ts';
import { type Delivery, useWebhooks } from '../support/webhooks.ts';

const UNKNOWN = '01980000-0000-7000-8000-000000000000';

describe('webhooks of a user', () => {
  const { here, make, verified, heard, deliveries, ended } = useWebhooks();

  it('get a message again under the same id, and go on with the schedule anew', async () => {
    const { id } = await make();
    await here.client.runTask('echo', { message: 'x' });
    await heard(1);
    const [delivery] = await deliveries(`webhooks/${id}`);
    await ended(delivery!.id);
    await here.world.db.updateTable('deliveries').set({ attempt: 10 }).where('id', '=', delivery!.id).execute();
    here.sink.answer = (_, response) => void response.writeHead(500).end();
    const resent = await here.client.request('POST', `/api/v1/deliveries/${delivery!.id}/resend`);
    expect(resent.status).toBe(202);
    await heard(2);
    verified(1);
    const waiting = await until('another attempt is due', async () => {
      const { body } = await here.client.request('GET', `/api/v1/deliveries/${delivery!.id}`);
      return body.status === 'pending' && body.attempt === 11 && body;
    });
    const inMs = Date.parse(String(waiting.next_attempt_at)) - Date.now();
    expect(inMs).toBeLessThan(7_000);
    here.sink.answer = undefined;
    await here.client.request('POST', `/api/v1/deliveries/${delivery!.id}/resend`);
    expect(await ended(delivery!.id)).toMatchObject({ status: 'delivered', attempt: 12 });
    expect(new Set(here.sink.received.map(({ headers }) => headers['webhook-id']))).toEqual(new Set([delivery?.id]));
  });

  it('are found by an event that there is, and by no other', async () => {
    const { id } = await make();
    const of = (event: string) => here.client.request('GET', `/api/v1/webhooks/${id}/deliveries?event=${event}`);
    for (const event of ['task.failed', 'webhook.disabled', 'webhook.test'])
      expect(await of(event)).toMatchObject({ status: 200, body: { data: [] } });
    expect(expectProblem(await of('nope'), 'validation_failed').errors).toEqual([
      { pointer: '#/event', detail: expect.stringContaining('task.failed') },
    ]);
  });

  it('that are disabled hear nothing, and recover what they missed since a time', async () => {
    const { id } = await make();
    const change = (body: object) => here.client.request('PATCH', `/api/v1/webhooks/${id}`, body);
    here.sink.answer = (_, response) => void response.writeHead(503, { 'retry-after': '3600' }).end();
    await here.client.runTask('echo', { message: 'waits for the receiver' });
    await heard(1);
    await until('it waits', async () => (await deliveries(`webhooks/${id}`))[0]?.status === 'pending');
    expect((await change({ enabled: false })).body).toMatchObject({ enabled: false, disabled_reason: 'owner' });
    await here.client.runTask('echo', { message: 'missed' });
    const missed = await deliveries(`webhooks/${id}`);
    expect(missed).toMatchObject([
      { status: 'failed', attempt: 0, last_error: expect.stringContaining('disabled') },
      { status: 'failed', attempt: 1, last_error: expect.stringContaining('disabled') },
    ]);
    const recover = (since: string) => here.client.request('POST', `/api/v1/webhooks/${id}/recover`, { since });
    expectProblem(await recover('2030-01-01T00:00:00Z'), 'webhook_disabled');
    expectProblem(await here.client.request('POST', `/api/v1/deliveries/${missed[0]!.id}/resend`), 'webhook_disabled');
    expect((await change({ enabled: true })).body).toMatchObject({ enabled: true, disabled_reason: null });
    expect((await recover('2100-01-01T00:00:00Z')).body).toEqual({ recovered: 0, more: false });
    here.sink.answer = undefined;
    const since = new Date(Date.now() - 60_000).toISOString();
    expect(await recover(since)).toMatchObject({ status: 202, body: { recovered: 2, more: false } });
    for (const one of missed) expect((await ended(one.id)).status).toBe('delivered');
    expect(new Set(here.sink.received.slice(1).map(({ headers }) => headers['webhook-id']))).toEqual(
      new Set(missed.map((one) => one.id)),
    );
    expect((await recover(since)).body).toEqual({ recovered: 0, more: false });
  });

  it('that are removed get nothing any more, and their log stays with the tasks', async () => {
    const { id } = await make();
    here.sink.answer = (_, response) => void response.writeHead(503, { 'retry-after': '3600' }).end();
    const task = await here.client.runTask('echo', { message: 'x' });
    await until(
      'it waits',
      async () => (await deliveries(`webhooks/${id}`))[0]?.attempts !== null && here.sink.received[0],
    );
    await until('it waits', async () => (await deliveries(`webhooks/${id}`))[0]?.status === 'pending');
    expect((await here.client.request('DELETE', `/api/v1/webhooks/${id}`)).status).toBe(204);
    expectProblem(await here.client.request('GET', `/api/v1/webhooks/${id}`), 'not_found');
    const [delivery] = await deliveries(`tasks/${task.id}`);
    expect(delivery).toMatchObject({
      status: 'failed',
      webhook_id: id,
      last_error: expect.stringContaining('removed'),
    });
    await here.client.runTask('echo', { message: 'later' });
    expectProblem(await here.client.request('POST', `/api/v1/deliveries/${delivery!.id}/resend`), 'webhook_disabled');
    expect(here.sink.received).toHaveLength(1);
    const { secret } = await here.world.db
      .selectFrom('webhook_endpoints')
      .select('secret')
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
    expect(secret).toHaveLength(0);
  });

  it('list their messages by status and event, page by page', async () => {
    const { id } = await make();
    for (let n = 0; n < 3; n++) await here.client.runTask('echo', { message: `${n}` });
    await here.client.request('POST', `/api/v1/webhooks/${id}/test`);
    await heard(4);
    await until('all are delivered', async () =>
      (await deliveries(`webhooks/${id}`)).every(({ status }) => status === 'delivered'),
    );
    const list = (query: string) =>
      here.client.request<{ data: Delivery[]; next_cursor: string | null }>(
        'GET',
        `/api/v1/webhooks/${id}/deliveries?${query}`,
      );
    const all = (await list('')).body.data.map((one) => one.id);
    const first = (await list('limit=3')).body;
    const rest = (await list(`limit=3&cursor=${first.next_cursor}`)).body;
    expect([...first.data, ...rest.data].map((one) => one.id)).toEqual(all);
    expect(all).toEqual([...all].sort().reverse());
    expect((await list('event=webhook.test')).body.data.map(({ event }) => event)).toEqual(['webhook.test']);
    expect((await list('status=failed')).body.data).toEqual([]);
    expectProblem(await list('status=eaten'), 'validation_failed');
  });

  it('that do not exist cannot be touched', async () => {
    for (const [method, path] of [
      ['POST', `webhooks/${UNKNOWN}/test`],
      ['POST', `deliveries/${UNKNOWN}/resend`],
      ['GET', `tasks/${UNKNOWN}/deliveries`],
    ] as const)
      expectProblem(await here.client.request(method, `/api/v1/${path}`), 'not_found');
  });
});
