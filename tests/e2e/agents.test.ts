import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listAttempts } from '../../src/db/tasks/read.ts';
import type { AgentBook } from '../support/agent-main.ts';
import { type AgentProcess, startAgentProcess } from '../support/agent-process.ts';
import { type Sutazai, spawnSutazai } from '../support/process.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

interface Graph {
  nodes: Array<{ id: string; status: string; undo: object | null; items: object | null }>;
}

type Books = Record<'honest' | 'slow' | 'failing', AgentBook>;

interface Health {
  state: string;
  circuit: string;
}

describe('three agents, each a process, and workers that are killed', () => {
  let world: World;
  let client: Client;
  let honest: AgentProcess;
  let slow: AgentProcess;
  let failing: AgentProcess;
  let workers: Sutazai[] = [];

  beforeAll(async () => {
    world = await createWorld({ mode: 'api', env: { LEASE_SECONDS: '2' } });
    [client, honest, slow, failing] = await Promise.all([
      world.client(),
      startAgentProcess('honest'),
      startAgentProcess('slow'),
      startAgentProcess('failing'),
    ]);
    await startWorkers(2);
  });
  afterAll(async () => {
    await killWorkers();
    await world.close();
    for (const agent of [honest, slow, failing]) await agent?.close();
  });

  /** Workers on the data of the world, each a process, as an operator has them. */
  async function startWorkers(count: number): Promise<void> {
    const url = { PUBLIC_URL: world.url, WORKER_LANES: 'agent,system' };
    const started = Array.from({ length: count }, () =>
      spawnSutazai(['worker'], { ...world.env, ...url, LOG_LEVEL: 'info' }),
    );
    workers.push(...started);
    for (const worker of started) await until('a worker is up', () => worker.output().includes('is up'));
  }

  /** Kills them as a machine that goes down does. */
  async function killWorkers(): Promise<void> {
    const killed = workers;
    workers = [];
    await Promise.all(killed.map((worker) => worker.kill('SIGKILL')));
  }

  async function register(name: string, agent: AgentProcess, config: object, capabilities: string[] = []) {
    const body = {
      name,
      type: 'http',
      endpoint: agent.url,
      capabilities,
      config: { ...PATH, retries: true, ...config },
    };
    const made = await client.request<{ id: string }>('POST', '/api/v1/agents', body);
    expect(made.status, JSON.stringify(made.body)).toBe(201);
    return made.body.id;
  }
  const health = async (id: string) => (await client.request<Health>('GET', `/api/v1/agents/${id}/health`)).body;
  const ledger = async (id: string) => (await listAttempts(world.db, id)).map(({ outcome }) => outcome);
  const nameOf = ({ output }: { output: unknown }) => (output as { agent: { name: string } } | null)?.agent.name;

  it('asks the healthy one that is the quickest, another one while that is busy, and never the one that is down', async () => {
    const quickly = { health: { path: '/health', interval_seconds: 1 } };
    const ids = [
      await register('honest', honest, { ...quickly, max_concurrency: 1 }, ['sum']),
      await register('slow', slow, quickly, ['sum']),
      await register('failing', failing, quickly, ['sum']),
    ];
    const states = ['healthy', 'healthy', 'down'];
    await until('it is known how they are', async () => {
      const all = await Promise.all(ids.map(health));
      return all.every(({ state }, place) => state === states[place]);
    });
    const ask = () => client.runTask('agent.run', { capability: 'sum', input: 1 });
    for (const _ of [1, 2]) expect(nameOf(await ask())).toBe('honest');
    await honest.be('slow');
    const both = await Promise.all([ask(), ask()]);
    expect(both.map(nameOf).sort()).toEqual(['honest', 'slow']);
    await honest.be('honest');
    expect((await failing.book()).taken).toEqual([]);
  });

  it('opens the circuit of one that fails, and closes it again once it does not', async () => {
    // What it says of how it is stays good, so that only the calls tell.
    const id = await register('broken', failing, { health: { path: '/book', interval_seconds: 3_600 } });
    // The first probe comes soon, and a good one closes what calls have opened.
    await until('it was probed', async () => (await health(id)).state === 'healthy');
    const ask = (max_attempts: number) => client.submit('agent.run', { agent: 'broken', input: 2 }, { max_attempts });
    const five = await Promise.all([1, 2, 3, 4, 5].map(() => ask(1)));
    for (const { id: task } of five)
      expect((await client.waitForEnd(task)).error).toMatchObject({ code: 'upstream_unavailable' });
    expect(await health(id)).toMatchObject({ state: 'down', circuit: expect.stringMatching(/^(half_)?open$/) });
    await failing.be('honest');
    const task = await client.waitForEnd((await ask(1)).id);
    expect(task).toMatchObject({ status: 'completed', output: { agent: { id } } });
    expect(await health(id)).toMatchObject({ circuit: 'closed' });
    expect((await failing.book()).taken).toHaveLength(6);
    await failing.be('failing');
  });

  it('takes what an agent calls back with while no worker is there, once', async () => {
    await honest.be('later');
    await register('later', honest, { async: { output: 'body.called_back' } });
    const before = (await honest.book()).effects;
    const { id } = await client.submit('agent.run', { agent: 'later', input: 3 });
    await until('it waits', async () => (await ledger(id)).includes('parked'));
    await killWorkers();
    expect(await honest.callBack()).toEqual([202]);
    expect(await honest.callBack()).toEqual([409]);
    expect((await client.request('GET', `/api/v1/tasks/${id}`)).body.status).not.toBe('completed');
    await startWorkers(1);
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'completed', attempt: 2, output: { output: 1 } });
    expect(await honest.callBack()).toEqual([410]);
    expect(await ledger(id)).toEqual(['parked', 'completed']);
    expect((await honest.book()).effects).toBe(before + 1);
    await honest.be('honest');
  });

  it('does each step of a workflow once, whichever workers are killed, undoes what is to be undone, and goes on when told to', async () => {
    const before = await books();
    const { id } = await client.submit('workflow', WORKFLOW);
    const graph = async () => (await client.request<Graph>('GET', `/api/v1/tasks/${id}/graph`)).body;
    const node = async (step: string) => (await graph()).nodes.find((one) => one.id === step);
    const parts = () => world.db.selectFrom('tasks').selectAll().where('parent_id', '=', id).execute();

    const waitForHuman = () => until('it waits for a human', async () => (await node('agree'))?.status === 'awaiting');
    const approve = () => client.request('POST', `/api/v1/tasks/${id}/approve`, { step: 'agree' });

    await until('an item is under way', async () => (await slow.book()).taken.length > before.slow.taken.length);
    await killWorkers();
    await startWorkers(1);
    await waitForHuman();
    await killWorkers();
    expect((await approve()).status).toBe(200);
    expect((await approve()).status).toBe(409);
    await startWorkers(1);
    await until('it is charged', async () => (await failing.book()).taken.length > before.failing.taken.length);
    await killWorkers();
    await startWorkers(1);

    const failed = await client.waitForEnd(id);
    expect(failed).toMatchObject({ status: 'failed', error: { code: 'step_failed' } });
    const { nodes } = await graph();
    expect(nodes.map((one) => [one.id, one.status])).toEqual([
      ['reserve', 'completed'],
      ['each', 'completed'],
      ['agree', 'completed'],
      ['charge', 'failed'],
      ['tell', 'cancelled'],
    ]);
    expect(nodes[0]?.undo).toMatchObject({ status: 'completed' });
    expect(nodes[1]?.items).toMatchObject({ total: 4, completed: 4 });
    expect((await parts()).map(({ title, status }) => `${title} ${status}`).sort()).toEqual([
      ...['charge failed', 'each[0] completed', 'each[1] completed', 'each[2] completed', 'each[3] completed'],
      ...['reserve completed', 'undo reserve completed'],
    ]);
    const after = await books();
    expect(done(before, after)).toEqual({ honest: 2, slow: 4, failing: 0 });
    const charged = after.failing.taken.slice(before.failing.taken.length);
    expect(new Set(charged.map(({ key }) => key)).size).toBe(1);

    // What was undone is done again, and all that came after it.
    await failing.be('honest');
    await client.request('POST', `/api/v1/tasks/${id}/retry`);
    await waitForHuman();
    await approve();
    expect(await client.waitForEnd(id)).toMatchObject({
      status: 'completed',
      output: { output: { tell: { message: 'paid for a cake' } } },
    });
    expect(done(after, await books())).toEqual({ honest: 1, slow: 4, failing: 1 });
  });

  async function books(): Promise<Books> {
    const [one, two, three] = await Promise.all([honest, slow, failing].map((agent) => agent.book()));
    return { honest: one, slow: two, failing: three } as Books;
  }
});

/** How often each agent did something between the two. */
function done(before: Books, after: Books): Record<string, number> {
  return Object.fromEntries(
    Object.entries(after).map(([name, { effects }]) => [name, effects - before[name as keyof Books].effects]),
  );
}

const ask = (agent: string, input: unknown) => ({ type: 'agent.run', input: { agent, input } });

const WORKFLOW = {
  input: { what: 'a cake', parts: ['flour', 'butter', 'sugar', 'eggs'] },
  steps: [
    {
      id: 'reserve',
      ...ask('honest', { reserve: '${{ input.what }}' }),
      compensate: ask('honest', { free: '${{ output.output.effect }}' }),
    },
    {
      id: 'each',
      needs: ['reserve'],
      for_each: 'input.parts',
      max_parallel: 2,
      ...ask('slow', { part: '${{ item }}' }),
    },
    { id: 'agree', needs: ['each'], type: 'approval', title: 'Shall it be paid?' },
    {
      ...{ id: 'charge', needs: ['agree'], on_failure: 'compensate', retry: { max_attempts: 2 } },
      ...ask('broken', { parts: '${{ steps.each.output }}' }),
    },
    { id: 'tell', needs: ['charge'], type: 'echo', input: { message: 'paid for ${{ input.what }}' } },
  ],
};

const PATH = { request: { path: '/run' } };
