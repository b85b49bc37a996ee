import { beforeAll, describe, expect, it } from 'vitest';
import type { Message } from '../../src/tasks/tools.ts';
import { addAgent } from '../support/add-agent.ts';
import { json } from '../support/scripted-http.ts';
import { thinkers } from '../support/thinker.ts';
import { replying } from '../support/tool-model.ts';

const on = thinkers();
const { run, chats, told, lastName } = on;
let { world, host, alice } = on;
beforeAll(() => {
  ({ world, host, alice } = on);
});

const SEARCH = { type: 'search', name: 'look', collection: 'house' };
const READ = () => ({ type: 'http_get', name: 'read', urls: [`${host.url}/open/`] });
const look = (query: unknown = 'tea') => [{ name: 'look', arguments: { query } }];
const read = (url: unknown) => [{ name: 'read', arguments: { url } }];

describe('a tool that fails', () => {
  it('for good is told to the model', async () => {
    host.script(json(404, { detail: 'no such kettle' }));
    const config = { tools: [READ(), { ...SEARCH, collection: 'cellar' }] };
    const task = await run(alice, config, { replies: [[...read(`${host.url}/open/x`), ...look()], 'Sorry.'] });
    expect(task.output.output).toMatchObject({ text: 'Sorry.' });
    expect(told(1)).toEqual([
      expect.stringMatching(/^error: upstream_rejected: .*no such kettle/),
      expect.stringMatching(/^error: collection_not_found/),
    ]);
  });

  it('for now is tried again with the next attempt, which begins there; at last it is told too', async () => {
    host.script(json(500, {}), json(502, {}), json(500, {}));
    const replies = [look(), read(`${host.url}/open/x`), 'Not now.'];
    const task = await run(alice, { tools: [SEARCH, READ()] }, { replies, max_attempts: 3 });
    expect(task).toMatchObject({ status: 'completed', attempt: 3, output: { output: { text: 'Not now.', steps: 3 } } });
    expect(host.asked).toHaveLength(3);
    expect(new Set(host.asked.map(({ headers }) => headers['idempotency-key'])).size).toBe(1);
    expect(chats()).toHaveLength(3);
    expect(told(2).at(-1)).toContain('error: upstream_unavailable');
  });
});

describe('the health of an agent', () => {
  it('is not to blame for what its tools fail in', async () => {
    host.script(json(500, {}), json(502, {}));
    const replies = [read(`${host.url}/open/x`), 'Not now.'];
    const task = await run(alice, { tools: [READ()] }, { replies, max_attempts: 2 });
    expect(task).toMatchObject({ status: 'completed', attempt: 2 });
    const outcomes = await world.db
      .selectFrom('agent_probes')
      .innerJoin('agents', 'agents.id', 'agent_probes.agent_id')
      .select('ok')
      .where('agents.name', '=', lastName())
      .where('source', '=', 'call')
      .execute();
    // The first attempt says nothing of it.
    expect(outcomes).toEqual([{ ok: true }]);
  });
});

it('one that was chosen by what it can goes on with what it has done, though another would be chosen by now', async () => {
  const health = (agent_id: string, state: 'healthy' | 'degraded') =>
    world.db
      .insertInto('agent_health')
      .values({ agent_id, state, heard_at: new Date() })
      .onConflict((there) => there.column('agent_id').doUpdateSet({ state }))
      .execute();
  const capable = { type: 'ollama' as const, capabilities: ['read'], userId: alice.userId };
  const first = await addAgent(world, { name: 'first', ...capable, config: { tools: [READ()] } });
  const second = await addAgent(world, { name: 'second', ...capable });
  await health(first, 'healthy');
  await health(second, 'degraded');
  host.script(
    (answer, asked) => {
      Promise.all([health(first, 'degraded'), health(second, 'healthy')]).then(() => json(500, {})(answer, asked));
    },
    json(200, {}),
  );
  world.ollama.script = replying([read(`${host.url}/open/x`), 'Read.']);
  const task = await alice.runTask('agent.run', { capability: 'read', input: 'Read it.' }, { max_attempts: 2 });
  expect(task).toMatchObject({ status: 'completed', attempt: 2, output: { agent: { id: first } } });
  expect(host.asked).toHaveLength(2);
});

describe('an agent that does not come to an end', () => {
  it.each([
    ['steps', { max_steps: 3 }, 3, '3 steps (max_steps)'],
    // The second call may write 41 tokens, and reads 50; there are none left for a third.
    ['tokens', { max_tokens: 100 }, 2, '100 tokens (max_tokens)'],
  ])('is stopped by its bound of %s', async (_, bound, calls, message) => {
    const task = await run(alice, { tools: [SEARCH], ...bound }, { replies: [look()], max_attempts: 3 });
    expect(task).toMatchObject({
      ...{ status: 'failed', attempt: 1 },
      error: { code: 'agent_limit', message: expect.stringContaining(message), retryable: false },
    });
    expect(chats()).toHaveLength(calls);
    if ('max_tokens' in bound) expect(chats()[1]?.body.options).toEqual({ num_predict: 41 });
  });

  it('is stopped by its bound of time, and the model is called off', async () => {
    world.ollama.script = () => true;
    const called = world.ollama.nextCall('/api/chat');
    await addAgent(world, { name: 'slow', type: 'ollama', userId: alice.userId, config: { max_seconds: 1 } });
    const { id } = await alice.submit('agent.run', { agent: 'slow', input: 'think' });
    expect(await (await called).closedEarly).toBe(true);
    expect(await alice.waitForEnd(id)).toMatchObject({
      ...{ status: 'failed', attempt: 1 },
      error: { code: 'agent_limit', message: expect.stringContaining('1 seconds (max_seconds)') },
    });
  });

  it('is stopped by it while another agent is at work for it, which is called off too', async () => {
    await addAgent(world, { name: 'silent', userId: alice.userId, endpoint: host.url });
    const closed = new Promise<void>((resolve) => host.script((answer) => void answer.on('close', resolve)));
    const config = { max_seconds: 2, tools: [{ type: 'agent', name: 'ask', agent: 'silent' }] };
    const task = await run(alice, config, { replies: [[{ name: 'ask', arguments: { input: 'well?' } }], 'No.'] });
    expect(task).toMatchObject({ status: 'failed', error: { code: 'agent_limit' } });
    await closed;
  });

  it('is stopped where agents ask one another without end', async () => {
    const config = { tools: [{ type: 'agent', name: 'ask', agent: 'echoing' }] };
    await addAgent(world, { name: 'echoing', type: 'ollama', userId: alice.userId, config });
    world.ollama.script = replying([
      ({ body }) => {
        const last = (body.messages as Message[]).at(-1);
        return last?.role === 'tool' ? `It said: ${last.content}` : [{ name: 'ask', arguments: { input: 'again' } }];
      },
    ]);
    const task = await alice.runTask('agent.run', { agent: 'echoing', input: 'hello' }, { max_attempts: 1 });
    expect(task.status).toBe('completed');
    expect((task.output as { output: { text: string } }).output.text).toContain('3 is the most');
    // Four agents, each of which was asked twice.
    expect(chats()).toHaveLength(8);
  });
});
