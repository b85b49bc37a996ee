import { sql } from 'kysely';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Received, type Sink, startSink } from '../support/sink.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

describe('the signature of a webhook message', () => {
  let world: World;
  let client: Client;
  let sink: Sink;
  beforeAll(async () => {
    [world, sink] = await Promise.all([createWorld(), startSink()]);
    client = await world.client();
  });
  afterAll(async () => {
    await sink.close();
    await world.close();
  });

  /** The message about a task, and the secret that was shown when it was accepted. */
  async function delivered(): Promise<{ id: string; secret: string; message: Received }> {
    const { id, webhook_secret } = await client.submit('echo', { message: 'x' }, { webhook: { url: sink.url } });
    const message = await until('the message', () => sink.received.find(({ body }) => body.includes(id)));
    return { id, secret: webhook_secret ?? '', message };
  }
  const verify = (secret: string, body: string, headers: object) =>
    new Webhook(secret).verify(body, headers as Record<string, string>);

  it('S41: is good for the reference library with the secret of its task, and with no other', async () => {
    const [one, other] = [await delivered(), await delivered()];
    expect(verify(one.secret, one.message.body, one.message.headers)).toMatchObject({ type: 'task.completed' });
    expect(one.secret).toMatch(/^whsec_/);
    expect(other.secret).not.toBe(one.secret);
    expect(() => verify(other.secret, one.message.body, one.message.headers)).toThrow('signature');
  });

  it.each<[string, (message: Received) => [string, object]]>([
    ['the body', ({ body, headers }) => [body.replace('completed', 'cancelled'), headers]],
    ['the id', ({ body, headers }) => [body, { ...headers, 'webhook-id': `${headers['webhook-id']}0` }]],
    [
      'the time',
      ({ body, headers }) => [body, { ...headers, 'webhook-timestamp': `${Number(headers['webhook-timestamp']) + 1}` }],
    ],
    ['the signature', ({ body, headers }) => [body, { ...headers, 'webhook-signature': 'v1,AAAA' }]],
  ])('S41: is not good any more when %s was changed', async (_, change) => {
    const { secret, message } = await delivered();
    const [body, headers] = change(message);
    expect(() => verify(secret, body, headers)).toThrow('signature');
  });

  it('S41: has a secret that is shown once and stored sealed', async () => {
    const { id, secret } = await delivered();
    for (const reader of [client, await world.client('admin')]) {
      const { body } = await reader.request('GET', `/api/v1/tasks/${id}`);
      expect(JSON.stringify(body)).not.toMatch(/whsec_|webhook_secret|"secret"/);
    }
    const bytes = Buffer.from(secret.slice('whsec_'.length), 'base64');
    const { rows } = await sql<{ text: string }>`
      select t::text || coalesce((select string_agg(d::text || encode(d.secret, 'base64'), '') from deliveries d where d.task_id = t.id), '') as text
      from tasks t where id = ${id}`.execute(world.db);
    const stored = rows[0]?.text ?? '';
    expect(stored).toContain(sink.url);
    for (const form of [secret, bytes.toString('base64'), bytes.toString('hex')]) expect(stored).not.toContain(form);
  });

  it('S41: of a webhook of an account has a secret that is shown once, stored sealed and in no log, also after a rotation', async () => {
    const made = await client.request('POST', '/api/v1/webhooks', { url: sink.url, name: 'signed' });
    const path = `/api/v1/webhooks/${made.body.id}`;
    const rotated = await client.request('POST', `${path}/rotate-secret`);
    const secrets = [made, rotated].map(({ body }) => String(body.webhook_secret));
    expect(new Set(secrets).size).toBe(2);
    for (const { headers } of [made, rotated]) expect(headers.get('cache-control')).toBe('no-store');
    const sent = await client.request('POST', `${path}/test`);
    const message = await until('the message', () =>
      sink.received.find(({ headers }) => headers['webhook-id'] === sent.body.id),
    );
    for (const secret of secrets)
      expect(verify(secret, message.body, message.headers)).toMatchObject({ type: 'webhook.test' });
    const other = await delivered();
    expect(() => verify(other.secret, message.body, message.headers)).toThrow('signature');
    const admin = await world.client('admin');
    const shown = [
      await client.request<unknown>('GET', path),
      await client.request<unknown>('PATCH', path, { name: 'renamed' }),
      await client.request<unknown>('GET', '/api/v1/webhooks'),
      await client.request<unknown>('GET', `/api/v1/deliveries/${sent.body.id}`),
      await admin.request<unknown>('GET', `/api/v1/audit?object_id=${made.body.id}`),
    ].map(({ body }) => JSON.stringify(body));
    expect(shown.at(-1)).toContain('webhook.rotate_secret');
    const { rows } = await sql<{ text: string }>`
      select e::text || encode(e.secret, 'base64') || encode(e.previous_secret, 'base64') as text
      from webhook_endpoints e where id = ${made.body.id}`.execute(world.db);
    for (const text of [...shown, rows[0]?.text ?? ''])
      for (const secret of secrets) {
        const bytes = Buffer.from(secret.slice('whsec_'.length), 'base64');
        for (const form of ['whsec_', bytes.toString('base64'), bytes.toString('hex')])
          expect(text).not.toContain(form);
      }
  });

  it('S41: of a webhook of an account says nothing to an address inside, whatever passed the door', async () => {
    const { body } = await client.request('POST', '/api/v1/webhooks', { url: sink.url });
    await sql`update webhook_endpoints set url = 'http://127.0.0.2:1/' where id = ${body.id}`.execute(world.db);
    const sent = await client.request('POST', `/api/v1/webhooks/${body.id}/test`);
    const failed = await until('the end', async () => {
      const found = await client.request('GET', `/api/v1/deliveries/${sent.body.id}`);
      return found.body.status === 'failed' && found.body;
    });
    expect(failed).toMatchObject({ last_status: null, last_error: expect.stringContaining('private address') });
  });
});
