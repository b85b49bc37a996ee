import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type FakeOllama, sendJson } from '../support/fake-ollama.ts';
import { expectProblem } from '../support/problem.ts';
import { createTwoHosts, type TwoHosts } from '../support/two-hosts.ts';
import type { Client, World } from '../support/world.ts';

let hosts: TwoHosts;
let second: FakeOllama;
let world: World;
let operator: Client;
beforeAll(async () => {
  hosts = await createTwoHosts();
  ({ world, second, operator } = hosts);
});
afterAll(() => hosts.close());
beforeEach(() => hosts.reset());

const chat = () => ({ messages: [{ role: 'user', content: 'x' }] });
const model = (client: Client, method: string, name: string) =>
  client.request(method, `/api/v1/models/${encodeURIComponent(name)}`);

describe('a model that is deleted', () => {
  it('is gone from every host, and from the list', async () => {
    expect((await model(operator, 'DELETE', 'tinyllama')).status).toBe(204);
    for (const host of [world.ollama, second])
      expect(host.models.map(({ name }) => name)).not.toContain('tinyllama:latest');
    expectProblem(await model(operator, 'DELETE', 'tinyllama'), 'not_found');
  });

  it('is kept while tasks put something into a collection of it, or look for something there', async () => {
    const user = await world.client();
    const input = { collection: 'notes', points: [{ text: 'the kettle' }] };
    const hangs = async (type: string, given: object) => {
      for (const host of [world.ollama, second]) host.script = () => new Promise(() => {});
      const called = Promise.race([world.ollama.nextCall('/api/embed'), second.nextCall('/api/embed')]);
      const { id } = await user.submit(type, given);
      await called;
      expectProblem(await model(operator, 'DELETE', 'all-minilm'), 'model_in_use');
      await user.request('POST', `/api/v1/tasks/${id}/cancel`);
      await user.waitForEnd(id);
      for (const host of [world.ollama, second]) host.script = undefined;
    };
    await hangs('vector.upsert', input);
    expect((await user.runTask('vector.upsert', input)).error).toBeNull();
    await hangs('vector.search', { collection: 'notes', query: 'a bed' });
    expect((await model(operator, 'DELETE', 'all-minilm')).status).toBe(204);
  });

  it('is kept while tasks run that use it, and where a host does not want to', async () => {
    for (const host of [world.ollama, second]) host.script = () => new Promise(() => {});
    const called = Promise.race([world.ollama.nextCall('/api/chat'), second.nextCall('/api/chat')]);
    const { id } = await operator.submit('chat', chat());
    await called;
    expectProblem(await model(operator, 'DELETE', 'tinyllama:latest'), 'model_in_use');
    expect((await model(operator, 'DELETE', 'all-minilm')).status).toBe(204);
    await operator.request('POST', `/api/v1/tasks/${id}/cancel`);
    await operator.waitForEnd(id);
    second.everything = ({ path }, response) => {
      if (path !== '/api/delete') return false;
      sendJson(response, 400, { error: 'it is built in' });
      return true;
    };
    const kept = await model(operator, 'DELETE', 'tinyllama');
    expect(JSON.stringify(expectProblem(kept, 'model_kept'))).toContain(
      'host-2 does not delete tinyllama:latest: it is built in',
    );
    second.everything = undefined;
  });
});
