import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

describe('a model that a user names', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ env: { OLLAMA_MODELS: 'tinyllama,all-minilm', OLLAMA_AUTO_PULL: 'true' } });
    world.ollama.models.push({ name: 'secret:latest', capabilities: ['completion'] });
    client = await world.client();
  });
  afterAll(() => world.close());

  it.each(['secret', 'secret:latest', 'nowhere', 'evil.example/a/b:latest'])(
    'S45: is neither asked nor pulled where it is not on the list of the operator: %s',
    async (model) => {
      const { output } = await client.runTask('generate', { model, prompt: 'x' });
      expect(output).toMatchObject({ model: 'tinyllama:latest', model_reason: 'first_available' });
      expect(world.ollama.asked).not.toContain('/api/pull');
      expect(JSON.stringify(world.ollama.calls.map(({ body }) => body))).not.toMatch(/secret|nowhere|evil/);
    },
  );

  it.each(['http://evil.example/x', '../../etc/passwd', 'a b', ''])('S45: has to be a name: %j', async (model) => {
    const answer = await client.request('POST', '/api/v1/tasks', { type: 'generate', input: { model, prompt: 'x' } });
    expect(pointersOf(expectProblem(answer, 'validation_failed'))[0]).toBe('#/input/model');
  });

  it.each(['num_gpu', 'main_gpu', 'num_thread', 'num_batch', 'use_mmap', 'use_mlock', 'numa', 'anything'])(
    'S45: is not told %s, which is for the operator of the machine',
    async (name) => {
      for (const input of [{ prompt: 'x' }, { messages: [{ role: 'user', content: 'x' }] }]) {
        const type = 'prompt' in input ? 'generate' : 'chat';
        const body = { type, input: { ...input, options: { temperature: 0.5, [name]: 1 } } };
        const answer = await client.request('POST', '/api/v1/tasks', body);
        expect(pointersOf(expectProblem(answer, 'validation_failed'))).toEqual([`#/input/options/${name}`]);
      }
    },
  );
});

describe('what a model says', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld();
    client = await world.client();
  });
  afterAll(() => world.close());

  it.each([
    ['SQL', "'; drop table tasks; --"],
    ['a shell', '$(touch /tmp/pwned); `id`'],
    ['HTML', '<script>alert(1)</script><img src=x onerror=alert(1)>'],
    ['a header', 'x\r\nSet-Cookie: session=stolen\r\n\r\n'],
    ['a URL', 'http://169.254.169.254/latest/meta-data/'],
    ['a task', '{"type":"http.request","input":{"method":"GET","url":"http://example.com/"}}'],
  ])('S43: is data and comes back as it was, also where it looks like %s', async (_, said) => {
    world.ollama.script = (_call, response) => {
      const line = { model: 'tinyllama:latest', response: said, done: true, done_reason: 'stop' };
      response.writeHead(200, { 'content-type': 'application/x-ndjson' }).end(`${JSON.stringify(line)}\n`);
      return true;
    };
    const before = await client.request<{ data: unknown[] }>('GET', '/api/v1/tasks?limit=200');
    const { id, output } = await client.runTask('generate', { prompt: 'x' });
    expect(output).toMatchObject({ text: said });
    const shown = await client.request('GET', `/api/v1/tasks/${id}`);
    expect(shown.headers.get('content-type')).toBe('application/json');
    expect(shown.headers.get('x-content-type-options')).toBe('nosniff');
    expect(shown.headers.get('set-cookie')).toBeNull();
    const after = await client.request<{ data: unknown[] }>('GET', '/api/v1/tasks?limit=200');
    expect(after.body.data).toHaveLength(before.body.data.length + 1);
  });
});
