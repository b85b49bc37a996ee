import { afterEach, describe, expect, it } from 'vitest';
import { listAttempts } from '../../src/db/tasks/read.ts';
import type { Message } from '../../src/tasks/tools.ts';
import { addAgent } from '../support/add-agent.ts';
import { spawnSutazai } from '../support/process.ts';
import { json, type ScriptedHttp, startScriptedHttp } from '../support/scripted-http.ts';
import { replying, type Said } from '../support/tool-model.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

/** A model that reads an address, asks another agent, and answers: five calls of others, each of which is told here by a word. */
describe('an agent with tools whose worker is gone', () => {
  let world: World;
  let client: Client;
  let host: ScriptedHttp;
  afterEach(async () => {
    await world.close();
    await host.close();
  });

  /** The words of the calls in their order, and the keys of those that went to the host. */
  const calls: string[] = [];
  const keys: unknown[] = [];
  /** Whether this call is never answered. */
  let hangs: (word: string) => boolean = () => false;

  async function start(env: Record<string, string>): Promise<string> {
    [calls.length, keys.length] = [0, 0];
    world = await createWorld({ env: { WORKER_LANES: 'webhook', ...env } });
    client = await world.client();
    host = await startScriptedHttp();
    host.script((answer, { url, headers }) => {
      calls.push(url);
      keys.push(headers['idempotency-key']);
      if (!hangs(url)) json(200, { said: url })(answer, {} as never);
    });
    const replies: Said[] = [
      [{ name: 'read', arguments: { url: `${host.url}/page` } }],
      [{ name: 'ask', arguments: { input: 'and you?' } }],
      'Both said it.',
    ];
    world.ollama.script = replying([
      ({ body }) => {
        const said = (body.messages as Message[]).filter(({ role }) => role === 'tool').length;
        calls.push(`model ${said + 1}`);
        return hangs(`model ${said + 1}`) ? 'hang' : (replies[said] ?? '');
      },
    ]);
    await addAgent(world, {
      name: 'other',
      userId: client.userId,
      endpoint: `${host.url}/other`,
      config: { retries: true },
    });
    const tools = [
      { type: 'http_get', name: 'read', urls: [`${host.url}/page`] },
      { type: 'agent', name: 'ask', agent: 'other' },
    ];
    await addAgent(world, { name: 'thinker', type: 'ollama', userId: client.userId, config: { tools } });
    return (await client.submit('agent.run', { agent: 'thinker', input: 'Who says it?' })).id;
  }

  const ALL = ['model 1', '/page', 'model 2', '/other', 'model 3'];
  const answered = { status: 'completed', output: { output: { text: 'Both said it.', steps: 3, tool_calls: 2 } } };

  it('goes on with the step that was under way, wherever that was, and does none twice', async () => {
    const left = [...ALL];
    hangs = (word) => left[0] === word;
    const id = await start({ SHUTDOWN_GRACE_SECONDS: '0' });
    for (const word of ALL) {
      const worker = await world.join('worker', { WORKER_LANES: 'agent' });
      await until(`${word} is asked`, () => calls.at(-1) === word);
      await worker.close();
      left.shift();
    }
    await world.join('worker', { WORKER_LANES: 'agent' });
    expect(await client.waitForEnd(id)).toMatchObject(answered);
    expect(calls).toEqual(ALL.flatMap((word) => [word, word]));
    // Those that went out twice are the same to whoever got them.
    expect(keys[0]).toBe(keys[1]);
    expect(keys[2]).toBe(keys[3]);
    expect(new Set(keys).size).toBe(2);
    // Run again by its user it is new, and so are its calls.
    await client.request('POST', `/api/v1/tasks/${id}/retry`);
    expect(await client.waitForEnd(id)).toMatchObject(answered);
    expect(calls.slice(10)).toEqual(ALL);
    expect(new Set(keys).size).toBe(4);
  });

  it('goes on there after it was killed', async () => {
    let killed = false;
    hangs = (word) => !killed && word === '/other';
    const id = await start({ LEASE_SECONDS: '2' });
    const victim = spawnSutazai(['worker'], { ...world.env, WORKER_LANES: 'agent' });
    await until('the other agent is asked', () => calls.includes('/other'));
    expect(await victim.kill('SIGKILL')).toBe('SIGKILL');
    killed = true;
    await world.join('worker', { WORKER_LANES: 'agent' });
    expect(await client.waitForEnd(id)).toMatchObject(answered);
    expect(calls).toEqual([...ALL.slice(0, 4), ...ALL.slice(3)]);
    expect((await listAttempts(world.db, id)).map(({ outcome }) => outcome)).toEqual(['lost', 'completed']);
  });

  it('that called an agent which answers later waits for it without a worker', async () => {
    hangs = () => false;
    const id = await start({});
    await world.db
      .updateTable('agents')
      .set({ config: JSON.stringify({ async: { output: 'body.said' } }) })
      .where('name', '=', 'other')
      .execute();
    let address = '';
    host.script((answer, asked) => {
      calls.push(asked.url);
      address = String(asked.headers['sutazai-callback'] ?? address);
      json(asked.url === '/other' ? 202 : 200, { said: asked.url })(answer, asked);
    });
    await world.join('worker', { WORKER_LANES: 'agent', PUBLIC_URL: world.url });
    const ledger = async () => (await listAttempts(world.db, id)).map(({ outcome }) => outcome);
    await until('it waits', async () => (await ledger()).includes('parked'));
    const headers = { 'content-type': 'application/json' };
    const told = await fetch(address, { method: 'POST', headers, body: '{"said":"at last"}' });
    expect(told.status).toBe(202);
    expect(await client.waitForEnd(id)).toMatchObject(answered);
    expect(calls).toEqual(ALL);
    expect(await ledger()).toEqual(['parked', 'completed']);
  });
});
