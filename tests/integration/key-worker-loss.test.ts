import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { spawnSutazai } from '../support/process.ts';
import { until } from '../support/until.ts';
import { BACKENDS, createWorld, type World } from '../support/world.ts';

const LIMIT = 2;
const TASKS = 24;
const WORKERS = 3;

describe.each(BACKENDS)('a concurrency key on %s', (backend) => {
  let world: World;
  beforeAll(async () => {
    // This process accepts and reconciles; others run the tasks.
    world = await createWorld({
      backend,
      env: { WORKER_LANES: 'webhook', LEASE_SECONDS: '2', WORKER_CONCURRENCY: '8' },
    });
  });
  afterAll(() => world.close());

  it('is never passed by one and never left stuck while workers are killed amid everything', async () => {
    let now = 0;
    let most = 0;
    world.ollama.script = async ({ closedEarly }) => {
      most = Math.max(most, ++now);
      await Promise.race([new Promise((resolve) => setTimeout(resolve, 150)), closedEarly]);
      now--;
      return false;
    };
    const env = { ...world.env, WORKER_LANES: 'llm', LOG_LEVEL: 'error' };
    let working = true;
    const allDone = Promise.withResolvers<void>();
    let kills = 0;
    const workers = Array.from({ length: WORKERS }, async (_, n) => {
      while (working) {
        const worker = spawnSutazai(['worker'], env);
        await until('it is up', () => /is up/.test(worker.output()));
        // The last one is let live, so that the key goes on; the others die at any moment.
        if (n === WORKERS - 1) await allDone.promise;
        else await new Promise((resolve) => setTimeout(resolve, 300 + 1_500 * Math.random()));
        await worker.kill('SIGKILL');
        if (working) kills++;
      }
    });
    const client = await world.client();
    const chat = { messages: [{ role: 'user', content: 'hello' }] };
    const more = { concurrency_key: { key: 'k', limit: LIMIT } };
    const ids = await Promise.all(
      Array.from({ length: TASKS }, async () => (await client.submit('chat', chat, more)).id),
    );
    const ended = await Promise.all(ids.map((id) => client.waitForEnd(id)));
    working = false;
    allDone.resolve();
    await Promise.all(workers);
    expect(kills).toBeGreaterThan(1);
    // A task whose workers were killed three times ends as poison; what counts is that each ends.
    expect(new Set(ended.map(({ status }) => status)).isSubsetOf(new Set(['completed', 'failed']))).toBe(true);
    expect(most).toBeLessThanOrEqual(LIMIT);
    const runs = (await Promise.all(ids.map((id) => listAttempts(world.db, id)))).flat();
    const times = runs.flatMap(({ started_at, ended_at }) => [
      { at: started_at?.getTime() ?? 0, by: 1 },
      { at: ended_at.getTime(), by: -1 },
    ]);
    let running = 0;
    // An end and a start in the same millisecond are an end first.
    for (const { by } of times.sort((a, b) => a.at - b.at || a.by - b.by)) {
      running += by;
      expect(running).toBeLessThanOrEqual(LIMIT);
    }
  });
});
