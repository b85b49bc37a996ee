import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const chat = { messages: [{ role: 'user', content: 'hello' }] };

describe('an outcome that cannot be kept', () => {
  let world: World;
  let client: Client;
  beforeEach(async () => {
    world = await createWorld({ env: { MAX_OUTPUT_BYTES: '2048' } });
    client = await world.client();
  });
  afterEach(() => world.close());

  it('breaks off a text that does not end, and closes the call', async () => {
    const line = `${JSON.stringify({ message: { role: 'assistant', content: 'and so on '.repeat(10) }, done: false })}\n`;
    world.ollama.script = (_call, response) => {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      const more = () => {
        while (!response.destroyed && response.write(line));
      };
      response.on('drain', more);
      more();
      return true;
    };
    const called = world.ollama.nextCall('/api/chat');
    const task = await client.runTask('chat', chat);
    expect(task).toMatchObject({ status: 'failed', attempt: 1, error: { code: 'output_too_large', retryable: false } });
    expect(await (await called).closedEarly).toBe(true);
  });

  it('fails once where Postgres refuses it, instead of being done again until it looks like poison', async () => {
    // Longer than the column that keeps the name of the model.
    world.ollama.models = [{ name: `${'m'.repeat(250)}:latest`, capabilities: ['completion'] }];
    const task = await client.runTask('chat', chat);
    expect(task).toMatchObject({ status: 'failed', attempt: 1, output: null, error: { code: 'internal_error' } });
    expect((await listAttempts(world.db, task.id)).map(({ outcome }) => outcome)).toEqual(['failed']);
    expect(world.ollama.calls).toHaveLength(1);
  });
});
