import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectProblem, textOf } from '../support/problem.ts';
import { BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

interface Type {
  name: string;
  queue: string;
  defaults: object;
  input_schema: { type?: string; additionalProperties?: boolean };
  output_schema: object;
  examples: unknown[];
}
type Dependencies = Array<{ name: string; kind: string; status: string; required: boolean; version?: string }>;

describe('what can be asked for', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld();
    client = await world.client('viewer');
  });
  afterAll(() => world.close());

  it('is every task type, with schemas, defaults and examples', async () => {
    const { status, body } = await client.request<{ data: Type[]; next_cursor: null }>('GET', '/api/v1/task-types');
    expect([status, body.next_cursor]).toEqual([200, null]);
    expect(body.data.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['echo', 'chat', 'generate', 'embed', 'http.request', 'vector.search']),
    );
    expect(body.data[0]).toEqual({
      ...{ name: 'echo', title: 'Echo', summary: expect.any(String), queue: 'system' },
      defaults: { max_attempts: 3, timeout_seconds: 30, priority: 5 },
      input_schema: expect.objectContaining({ type: 'object', required: ['message'], additionalProperties: false }),
      output_schema: expect.objectContaining({ type: 'object' }),
      examples: [{ message: 'hello' }],
    });
    for (const { examples } of body.data) expect(examples.length).toBeGreaterThan(0);
  });

  it('is accepted as its own examples show it', async () => {
    const user = await world.client();
    const { body } = await client.request<{ data: Type[] }>('GET', '/api/v1/task-types');
    for (const { name, examples } of body.data)
      for (const input of examples) {
        // Not run here: one of them calls a host of the internet.
        const { type, id } = await user.submit(name, input, { delay_seconds: 600 });
        expect(type).toBe(name);
        await user.request('POST', `/api/v1/tasks/${id}/cancel`);
      }
  });

  it('is every model of the hosts, which can do what, and which is the default', async () => {
    const { status, body } = await client.request('GET', '/api/v1/models');
    expect(status).toBe(200);
    expect(body).toMatchObject({
      served_by: 'Ollama',
      next_cursor: null,
      defaults: { completion: { model: 'tinyllama:latest' }, embedding: { model: 'all-minilm:latest' } },
      data: [
        { name: 'tinyllama:latest', capabilities: ['completion'], default_for: ['completion'] },
        { name: 'all-minilm:latest', capabilities: ['embedding'], default_for: ['embedding'] },
      ],
    });
    expect(JSON.stringify(body)).not.toContain(world.ollama.url);
  });
});

describe.each(BACKENDS)('readiness on %s', (backend) => {
  it('tells of each dependency, is degraded without the model host, and names no address', async () => {
    const world = await createWorld({ backend });
    const ask = () => world.anonymous.request<{ status: string; dependencies: Dependencies }>('GET', '/readyz');
    const { status, body } = await ask();
    expect([status, body.status]).toEqual([200, 'ready']);
    expect(body.dependencies.map(({ name, required }) => [name, required])).toEqual([
      ['database', true],
      ['queues', false],
      ['models', false],
      ['vectors', false],
    ]);
    expect(body.dependencies[1]?.kind).toBe(`BullMQ on ${backend === 'redis' ? 'Redis' : 'Postgres'}`);
    expect(JSON.stringify(body)).not.toMatch(/127\.0\.0\.1|:\/\//);

    await world.ollama.close();
    await expect.poll(async () => (await ask()).body.status).toBe('degraded');
    expect((await ask()).status).toBe(200);
    const user = await world.client();
    expect((await user.submit('chat', { messages: [{ role: 'user', content: 'x' }] })).status).toBe('pending');
    const models = await user.request('GET', '/api/v1/models');
    expect(textOf(expectProblem(models, 'temporary-reduced-capacity'))).not.toMatch(/127\.0\.0\.1|ECONN/);
    expect(models.headers.get('retry-after')).toBe('5');
    await world.close();
  });
});
