import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { startSink } from '../support/sink.ts';
import { until } from '../support/until.ts';
import { type Delivery, type Endpoint, SECRET, useWebhooks } from '../support/webhooks.ts';

describe('webhooks of a user', () => {
  const { here, make, verified, heard, deliveries, ended } = useWebhooks({ env: { MAX_WEBHOOKS_PER_USER: '3' } });

  it('hear of the end of all tasks, signed with the secret of each', async () => {
    const made = await make({ secret: undefined, name: 'orders' });
    expect(made).toMatchObject({
      name: 'orders',
      url: here.sink.url,
      enabled: true,
      events: ['task.completed', 'task.failed', 'task.cancelled', 'task.expired', 'webhook.disabled'],
      webhook_secret: expect.stringMatching(/^whsec_/),
    });
    const done = await here.client.runTask('echo', { message: 'secret input' });
    await heard(1);
    const message = verified(0, made.webhook_secret);
    expect(message).toMatchObject({ type: 'task.completed', timestamp: done.completed_at, data: { id: done.id } });
    expect(message.data).not.toHaveProperty('input');
    const [delivery] = await deliveries(`webhooks/${made.id}`);
    expect(delivery).toMatchObject({ id: here.sink.received[0]?.headers['webhook-id'], task_id: done.id });
    const { id } = await here.client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    await here.client.request('POST', `/api/v1/tasks/${id}/cancel`);
    await heard(2);
    expect(verified(1, made.webhook_secret)).toMatchObject({ type: 'task.cancelled', data: { id } });
    expect((await here.client.request('GET', `/api/v1/webhooks/${made.id}`)).body).not.toHaveProperty('webhook_secret');
  });

  it('and the webhook of a task hear of its end separately, each under an id of its own', async () => {
    const { id: webhookId } = await make();
    const other = await startSink();
    const task = await here.client.runTask('echo', { message: 'x' }, { webhook: { url: other.url } });
    await heard(1);
    await until('the webhook of the task', () => other.received.length === 1);
    const all = await deliveries(`tasks/${task.id}`);
    expect(all.map(({ webhook_id }) => webhook_id).sort()).toEqual([webhookId, null].sort());
    expect(all.map(({ id }) => id).sort()).toEqual(
      [here.sink, other].map(({ received }) => received[0]?.headers['webhook-id']).sort(),
    );
    await other.close();
  });

  it('hear of what they subscribe to, and of the tasks of their user only', async () => {
    await make({ events: ['task.failed', 'task.failed'] });
    await make({ events: ['task.completed'], url: `${here.sink.url}?completed` });
    await (await here.world.client()).runTask('echo', { message: 'of another' });
    const { id } = await here.client.runTask('echo', { message: 'x' });
    await heard(1);
    await ended((await deliveries(`tasks/${id}`))[0]!.id);
    expect(await deliveries(`tasks/${id}`)).toHaveLength(1);
    expect(here.sink.received.map(({ path }) => path)).toEqual(['/hook?completed']);
  });

  it('are as many as the setting allows', async () => {
    for (let n = 0; n < 3; n++) await make();
    expectProblem(await here.client.request('POST', '/api/v1/webhooks', { url: here.sink.url }), 'limit_reached');
    const { body } = await here.client.request<{ data: Endpoint[]; next_cursor: string }>(
      'GET',
      '/api/v1/webhooks?limit=2',
    );
    expect(body.data).toHaveLength(2);
    const next = await here.client.request<{ data: Endpoint[] }>('GET', `/api/v1/webhooks?cursor=${body.next_cursor}`);
    expect(next.body).toMatchObject({ data: [{ url: here.sink.url }], next_cursor: null });
    await here.client.request('DELETE', `/api/v1/webhooks/${next.body.data[0]?.id}`);
    await make();
  });

  it.each([
    ['a private address', { url: 'http://10.0.0.1/' }, '#/url'],
    ['no URL', { url: 'x' }, '#/url'],
    ['no event', { events: [] }, '#/events'],
    ['an unknown event', { events: ['task.eaten'] }, '#/events/0'],
    ['a bad secret', { secret: 'whsec_AAAA' }, '#/secret'],
    ['a long name', { name: 'x'.repeat(101) }, '#/name'],
  ])('are refused with %s, and so is a change to it', async (_, wrong, pointer) => {
    const good = { url: here.sink.url, events: ['task.failed'] };
    const refused = expectProblem(
      await here.client.request('POST', '/api/v1/webhooks', { ...good, ...wrong }),
      'validation_failed',
    );
    expect(pointersOf(refused)).toEqual([pointer]);
    const { id } = await make();
    const changed = await here.client.request('PATCH', `/api/v1/webhooks/${id}`, wrong);
    expect(pointersOf(expectProblem(changed, 'validation_failed'))).toEqual([pointer]);
  });

  it('that were made with an Idempotency-Key are made once, and the secret comes again', async () => {
    const ask = () =>
      here.client.request<Endpoint>(
        'POST',
        '/api/v1/webhooks',
        { url: here.sink.url },
        { 'idempotency-key': 'one-webhook' },
      );
    const [first, second] = [await ask(), await ask()];
    expect(second.body).toEqual(first.body);
    expect(second.body.webhook_secret).toMatch(/^whsec_/);
  });

  it('get one test message where the request for it is sent again with its Idempotency-Key', async () => {
    const { id } = await make();
    const key = { 'idempotency-key': 'one-test' };
    const ask = () => here.client.request<Delivery>('POST', `/api/v1/webhooks/${id}/test`, undefined, key);
    const [first, again] = [await ask(), await ask()];
    expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([202, 'true']);
    expect(again.headers.get('location')).toBe(first.headers.get('location'));
    expect(again.body).toEqual(first.body);
    await ended(first.body.id);
    const { body } = await here.client.request<{ data: Delivery[] }>('GET', `/api/v1/webhooks/${id}/deliveries`);
    expect(body.data.map((one) => one.id)).toEqual([first.body.id]);
  });

  it('can be tested, also while they are disabled, and a test that fails is not tried again', async () => {
    const { id } = await make({ enabled: false });
    const test = () => here.client.request<Delivery>('POST', `/api/v1/webhooks/${id}/test`);
    const sent = await test();
    expect([sent.status, sent.headers.get('location')]).toEqual([
      202,
      expect.stringMatching(`/api/v1/deliveries/${sent.body.id}$`),
    ]);
    expect(await ended(sent.body.id)).toMatchObject({ status: 'delivered', event: 'webhook.test', task_id: null });
    expect(verified(0)).toMatchObject({ type: 'webhook.test', data: { webhook_id: id } });
    here.sink.answer = (_, response) => void response.writeHead(500).end('x'.repeat(30_000));
    const failed = await ended((await test()).body.id);
    expect(failed).toMatchObject({ status: 'failed', last_status: 500, attempts: [{ attempt: 1, status: 500 }] });
    expect(failed.attempts?.[0]?.response).toBe('x'.repeat(20_000));
  });

  it('sign with the old and the new secret for a while after a rotation', async () => {
    const { id } = await make();
    const rotated = await here.client.request<Endpoint>('POST', `/api/v1/webhooks/${id}/rotate-secret`);
    const fresh = rotated.body.webhook_secret ?? '';
    expect(rotated.status).toBe(200);
    const hours = (Date.parse(rotated.body.previous_secret_until ?? '') - Date.now()) / 3_600_000;
    expect(hours).toBeGreaterThan(23.9);
    expect(hours).toBeLessThan(24.1);
    const test = async () => {
      await here.client.request('POST', `/api/v1/webhooks/${id}/test`);
      await heard(1);
      return here.sink.received.splice(0)[0]!;
    };
    const both = await test();
    expect(String(both.headers['webhook-signature']).split(' ')).toHaveLength(2);
    for (const secret of [SECRET, fresh]) new Webhook(secret).verify(both.body, both.headers as never);
    await here.world.db
      .updateTable('webhook_endpoints')
      .set({ previous_until: new Date(0) })
      .where('id', '=', id)
      .execute();
    const one = await test();
    new Webhook(fresh).verify(one.body, one.headers as never);
    expect(() => new Webhook(SECRET).verify(one.body, one.headers as never)).toThrow();
    expect((await here.client.request('GET', `/api/v1/webhooks/${id}`)).body).toMatchObject({
      previous_secret_until: null,
    });
  });
});
