import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Answer } from '../support/world.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const NODE = process.version.slice(1);
/** What the scripted Ollama says of itself. */
const OLLAMA = '0.99.0';

describe('what is shown to whoever asks', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api', env: { DOCS: 'open' } });
    client = await world.client();
    await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
  });
  afterAll(() => world.close());

  it.each([
    ['GET', '/healthz'],
    ['GET', '/readyz'],
    ['GET', '/docs/problems/not_found'],
    ['GET', '/docs/problems/nothing'],
    ['GET', '/metrics'],
    ['GET', '/openapi.json'],
    ['GET', '/docs'],
    ['GET', '/nowhere'],
    ['GET', '/'],
    ['GET', '/api/v1/tasks'],
    ['POST', '/api/v1/auth/login'],
    ['GET', '/admin/login'],
    ['GET', '/admin/queues'],
  ])('S32: at %s %s is no version, no address of the inside, no id and no secret', async (method, path) => {
    const answer = await world.anonymous.request<unknown>(method, path, method === 'POST' ? {} : undefined);
    const said = JSON.stringify([answer.body, [...answer.headers]]);
    const { JWT_SECRET_KEY = '', ENCRYPTION_KEY = '', QUEUE_PREFIX = '', REDIS_URL = '' } = world.env;
    const inside = [world.databaseUrl, REDIS_URL, world.ollama.url, JWT_SECRET_KEY, ENCRYPTION_KEY, QUEUE_PREFIX];
    for (const secret of [...inside, NODE, OLLAMA, client.userId, client.username]) expect(said).not.toContain(secret);
    expect(said).not.toMatch(/postgres:\/\/|redis:\/\/|bullmq@|hono\/|node_modules|\d+\.\d+\.\d+-/);
    // The reference describes fields of that name, and has the version of the API, which its path tells too.
    if (path === '/openapi.json') expect(answer.body).toMatchObject({ info: { version: 'v1' } });
    else expect(said).not.toContain('"version"');
    for (const header of ['server', 'x-powered-by', 'via']) expect(answer.headers.get(header)).toBeNull();
  });

  it('S32: the versions of what it depends on are for operators', async () => {
    const operator = await world.client('operator');
    const { body } = await operator.request('GET', '/api/v1/monitoring/system');
    expect(body.dependencies).toEqual(
      expect.arrayContaining([expect.objectContaining({ name: 'models', status: 'up', version: OLLAMA })]),
    );
  });

  /** What a gateway may put there for an application that believes it. */
  const CLAIMED = {
    'x-user-id': '1',
    'x-user': 'admin',
    'x-role': 'admin',
    'x-forwarded-user': 'admin',
    'x-remote-user': 'admin',
    'remote-user': 'admin',
    'x-auth-request-user': 'admin',
    'x-authenticated-userid': 'admin',
    'x-authenticated-scope': '*',
    'x-consumer-id': '1',
    'x-consumer-username': 'admin',
    'x-credential-identifier': 'admin',
    'x-anonymous-consumer': 'false',
    'x-original-url': '/healthz',
    'x-rewrite-url': '/healthz',
    'x-http-method-override': 'GET',
    'x-method-override': 'GET',
  };

  it('S32: a header that says who somebody is says nothing', async () => {
    const asNobody = await world.anonymous.request('GET', '/api/v1/users', undefined, CLAIMED);
    expect(asNobody.status).toBe(401);
    const asUser: Answer = await client.request('GET', '/api/v1/users', undefined, CLAIMED);
    expect(asUser.status).toBe(403);
    const me = await client.request('GET', '/api/v1/auth/me', undefined, CLAIMED);
    expect(me.body).toMatchObject({ id: client.userId, role: 'user' });
    const steered = await client.request('POST', '/api/v1/tasks', {}, CLAIMED);
    expect(steered.status).toBe(422);
  });

  it('S27, S28: the same idempotency key, request id or job id of somebody else leads to nothing of theirs', async () => {
    const [one, other] = [await world.client(), await world.client()];
    const headers = { 'idempotency-key': 'the-same-for-both', 'x-request-id': 'the-same-for-both' };
    const submission = { type: 'echo', input: { message: 'x' }, delay_seconds: 600 };
    const mine = await one.request('POST', '/api/v1/tasks', submission, headers);
    const theirs = await other.request('POST', '/api/v1/tasks', submission, headers);
    expect([mine.status, theirs.status]).toEqual([202, 202]);
    expect(theirs.body).toMatchObject({ user_id: other.userId });
    expect(theirs.body.id).not.toBe(mine.body.id);
    for (const id of [
      mine.body.id,
      `${mine.body.id}_g0`,
      `${mine.body.id}%5Fg0`,
      `${theirs.body.id}/../${mine.body.id}`,
    ])
      for (const verb of ['cancel', 'retry'])
        for (const key of [{}, { 'idempotency-key': `${verb}-of-the-other` }] as Array<Record<string, string>>)
          expect((await other.request('POST', `/api/v1/tasks/${id}/${verb}`, undefined, key)).status).toBe(404);
    expect((await one.request('GET', `/api/v1/tasks/${mine.body.id}`)).body).toMatchObject({ status: 'scheduled' });
  });
});
