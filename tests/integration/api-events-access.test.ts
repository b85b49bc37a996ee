import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../src/db/ids.ts';
import { startWorkerHere, type WorkerHere } from '../support/run-here.ts';
import { type EventReader, readEvents } from '../support/sse.ts';
import { until } from '../support/until.ts';
import { anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

const ORIGIN = 'https://app.example.com';
let world: World;
let client: Client;
let worker: WorkerHere;
const readers: EventReader[] = [];
beforeAll(async () => {
  world = await createWorld({ env: { WORKER_LANES: 'webhook', CORS_ORIGINS: ORIGIN } });
  client = await world.client();
  worker = await startWorkerHere(world);
});
afterAll(async () => {
  for (const reader of readers) reader.close();
  await worker.close();
  await world.close();
});

async function follow(id: string, headers: Record<string, string>, query = ''): Promise<EventReader> {
  const reader = await readEvents(`${world.url}/api/v1/tasks/${id}/events${query}`, headers);
  readers.push(reader);
  return reader;
}
const bearer = (token: string | undefined) => ({ authorization: `Bearer ${token}` });
const waiting = async () => (await client.submit('echo', { message: 'x' }, { delay_seconds: 600 })).id;

/** Runs a task that says something of every kind. */
const talk = (id: string) =>
  worker.run(id, async (tools) => {
    tools.progress(40, 'so far');
    tools.log.info('a line of the owner', { step: 1 });
    tools.emit('text of the owner');
  });

describe('who may follow a task', () => {
  it('is nobody else: the answer is that for a task that does not exist', async () => {
    const stranger = await world.client();
    const id = await waiting();
    for (const path of ['events', 'timeline']) {
      const [theirs, nobodys] = await Promise.all(
        [id, newId()].map((one) => stranger.request('GET', `/api/v1/tasks/${one}/${path}`)),
      );
      expect(theirs?.status).toBe(404);
      expect({ ...theirs?.body, instance: '', request_id: '' }).toEqual({
        ...nobodys?.body,
        instance: '',
        request_id: '',
      });
    }
  });

  it('is a page with the token of this one task in the URL', async () => {
    const { id } = await client.submit('echo', { message: 'x' });
    const { body } = await client.request<{ access_token: string }>('POST', `/api/v1/tasks/${id}/token`);
    const query = `?access_token=${body.access_token}`;
    const reader = await follow(id, { origin: ORIGIN }, query);
    expect(reader.status).toBe(200);
    expect(reader.headers.get('access-control-allow-origin')).toBe(ORIGIN);
    await reader.until('the beginning', () => true);
    await talk(id);
    expect(await reader.ended).toMatchObject({ id, status: 'completed', output: { message: 'done' } });
    expect(reader.text()).toBe('text of the owner');
    expect((await follow(await waiting(), {}, query)).status).toBe(404);
    const timeline = await world.anonymous.request('GET', `/api/v1/tasks/${id}/timeline${query}`);
    expect(timeline.status).toBe(200);
  });

  it('is an operator, but without what the task says', async () => {
    const operator = await world.client('operator');
    const { id } = await client.submit('echo', { message: 'x' });
    const [theirs, own] = [await follow(id, bearer(operator.token)), await follow(id, bearer(client.token))];
    await Promise.all([theirs, own].map((reader) => reader.until('the beginning', () => true)));
    await talk(id);
    expect(await theirs.ended).toMatchObject({ id, status: 'completed', input: null, output: null });
    expect(await own.ended).toMatchObject({ output: { message: 'done' } });
    expect(theirs.named('output')).toEqual([]);
    expect(theirs.named('log')).toEqual([]);
    expect(theirs.named('progress')).toHaveLength(1);
    expect(own.named('log').map(({ data }) => data)).toMatchObject([
      { level: 'info', message: 'a line of the owner', fields: { step: 1 }, attempt: 1 },
    ]);
    expect(own.named('progress').map(({ data }) => data)).toMatchObject([{ percent: 40, message: 'so far' }]);
    expect(own.text()).toBe('text of the owner');
    const { body } = await operator.request('GET', `/api/v1/tasks/${id}/timeline`);
    expect(JSON.stringify(body)).not.toContain('of the owner');
    const whole = await client.request('GET', `/api/v1/tasks/${id}/timeline`);
    expect(JSON.stringify(whole.body)).toContain('a line of the owner');
  });

  it('is an operator, but without the address of a webhook, also where it is not reached', async () => {
    const operator = await world.client('operator');
    const webhook = { url: 'http://127.0.0.1:9/of-the-owner', events: ['task.completed'] };
    const { id } = await client.submit('echo', { message: 'x' }, { webhook });
    await talk(id);
    const sent = async (who: Client) => {
      const { body } = await who.request<{ data: Record<string, unknown>[] }>('GET', `/api/v1/tasks/${id}/timeline`);
      return body.data.find(({ type }) => type === 'webhook');
    };
    const own = await until('an attempt to send it', () => sent(client));
    expect(own).toMatchObject({ url: webhook.url, http_status: null, failure: expect.stringContaining('no answer') });
    expect(own.failure).not.toContain('127.0.0.1');
    const { url: _, failure: __, ...rest } = own;
    expect(await sent(operator)).toEqual(rest);
    // So it is for whoever comes in the name of the owner, but may see no webhooks.
    const token = await client.request<{ access_token: string }>('POST', `/api/v1/tasks/${id}/token`);
    expect(await sent(anonymousClient(world.url, token.body.access_token))).toEqual(rest);
    const key = async (...scopes: string[]) => {
      const { body } = await client.request<{ key: string }>('POST', '/api/v1/api-keys', { name: 'k', scopes });
      return anonymousClient(world.url, body.key);
    };
    expect(await sent(await key('tasks:read'))).toEqual(rest);
    expect(await sent(await key('tasks:read', 'webhooks:read'))).toEqual(own);
  });

  it('is nobody whose session ended meanwhile', async () => {
    const id = await waiting();
    const leaving = await world.client();
    const { body: task } = await leaving.request<{ id: string }>('POST', '/api/v1/tasks', {
      ...{ type: 'echo', input: { message: 'x' }, delay_seconds: 600 },
    });
    const key = await leaving.request<{ id: string; key: string }>('POST', '/api/v1/api-keys', { name: 'k' });
    const [bySession, byKey] = [
      await follow(task.id, bearer(leaving.token)),
      await follow(task.id, { 'x-api-key': key.body.key }),
    ];
    const staying = await follow(id, bearer(client.token));
    await Promise.all([bySession, byKey, staying].map((reader) => reader.until('the beginning', () => true)));
    const revoked = performance.now();
    await leaving.request('DELETE', `/api/v1/api-keys/${key.body.id}`);
    expect(await byKey.ended).toBeUndefined();
    expect(byKey.events.at(-1)).toMatchObject({ event: 'problem', data: { code: 'invalid_token' } });
    expect(bySession.named('problem')).toEqual([]);
    await leaving.request('POST', '/api/v1/auth/logout');
    expect(await bySession.ended).toBeUndefined();
    expect(bySession.events.at(-1)).toMatchObject({ event: 'problem', data: { code: 'invalid_token' } });
    // Not only with the next ping.
    expect(performance.now() - revoked).toBeLessThan(5_000);
    expect(staying.named('problem')).toEqual([]);
    staying.close();
  });

  it('is nobody by a key whose owner may not see it any more', async () => {
    const id = await waiting();
    const operator = await world.client('operator');
    const key = await operator.request<{ key: string }>('POST', '/api/v1/api-keys', { name: 'k' });
    const [theirs, own] = [await follow(id, { 'x-api-key': key.body.key }), await follow(id, bearer(client.token))];
    await Promise.all([theirs, own].map((reader) => reader.until('the beginning', () => true)));
    const admin = await world.client('admin');
    const me = await operator.request<{ id: string }>('GET', '/api/v1/auth/me');
    const demoted = await admin.request('PATCH', `/api/v1/users/${me.body.id}`, { role: 'user' });
    expect(demoted.status).toBe(200);
    await theirs.until('the end', ({ event }) => event === 'problem');
    expect(await theirs.ended).toBeUndefined();
    expect(theirs.events.at(-1)).toMatchObject({ event: 'problem', data: { code: 'invalid_token' } });
    expect((await follow(id, { 'x-api-key': key.body.key })).status).toBe(404);
    expect(own.named('problem')).toEqual([]);
    own.close();
  });

  it('hears a ping every ten seconds while nothing happens, and of a cancel at once', async () => {
    const id = await waiting();
    const opened = performance.now();
    const reader = await follow(id, bearer(client.token));
    await reader.until('a ping', () => reader.comments.includes('ping'));
    expect(performance.now() - opened).toBeGreaterThan(9_000);
    const cancelled = performance.now();
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    expect(await reader.ended).toMatchObject({ status: 'cancelled' });
    expect(performance.now() - cancelled).toBeLessThan(2_000);
    const by = reader.events.find(({ data }) => data.type === 'cancel_requested');
    expect(by?.data).toMatchObject({ by: client.username, status: 'cancelled' });
  });

  it('gets an answer to HEAD that opens nothing', async () => {
    const id = await waiting();
    const head = await client.request('HEAD', `/api/v1/tasks/${id}/events`);
    expect([head.status, head.headers.get('content-type'), head.body]).toEqual([200, 'text/event-stream', '']);
    const { streamed } = await world.db
      .selectFrom('tasks')
      .select('streamed')
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
    expect(streamed).toBe(false);
  });
});
