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
});
