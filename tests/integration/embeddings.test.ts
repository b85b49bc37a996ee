import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { prune } from '../../src/db/prune.ts';
import type { Running } from '../../src/deps.ts';
import { embedding } from '../support/fake-ollama.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let number = 0;
const fresh = (count: number) => Array.from({ length: count }, () => `the text number ${++number}`);

describe('embeddings of many tasks', () => {
  let world: World;
  let client: Client;
  let workers: Running[] = [];
  beforeAll(async () => {
    world = await createWorld({ env: { WORKER_LANES: 'system' } });
    client = await world.client();
  });
  afterAll(() => world.close());
  beforeEach(() => {
    world.ollama.script = undefined;
    world.ollama.calls.length = 0;
  });
  afterEach(async () => {
    for (const worker of workers) await worker.close();
    workers = [];
  });

  const work = async (more = {}) => {
    const worker = await world.join('worker', { WORKER_LANES: 'embed', EMBEDDING_CACHE_MB: '8', ...more });
    workers.push(worker);
    return worker;
  };
  const calls = () => world.ollama.calls.map(({ body }) => body.input as string[]);
  const embed = (input: string | string[]) => client.runTask('embed', { input, model: 'all-minilm' });
  const usageOf = async (id: string) =>
    (await client.request<{ usage: Record<string, number> }>('GET', `/api/v1/tasks/${id}`)).body.usage;

  it('go to the host in one call where they come together, and each task has its own vectors', async () => {
    await work({ EMBEDDING_CACHE_MB: '0' });
    let go: (() => void) | undefined;
    const held = new Promise<void>((resolve) => {
      go = resolve;
    });
    world.ollama.script = async () => {
      if (world.ollama.calls.length === 1) await held;
      return false;
    };
    const [first = '', ...others] = fresh(21);
    const running = [embed(first)];
    await until('the first is at the host', () => world.ollama.calls.length === 1);
    running.push(...others.map((text) => embed(text)));
    await until('all of them run', async () => {
      const { rows } = await sql`select from tasks where status = 'running'`.execute(world.db);
      return rows.length === 21;
    });
    go?.();
    const ended = await Promise.all(running);
    // The last of them may have been on their way to the others when the call was let go.
    expect(calls().length).toBeLessThanOrEqual(4);
    expect(calls().flat().toSorted()).toEqual([first, ...others].toSorted());
    [first, ...others].forEach((text, index) => {
      expect(ended[index]).toMatchObject({
        status: 'completed',
        output: { embeddings: [embedding(text)], dimensions: 8 },
      });
    });
    const usage = await Promise.all(ended.map(({ id }) => usageOf(id)));
    // The host says three tokens for a whole call.
    expect(usage.reduce((sum, { input_tokens = 0 }) => sum + input_tokens, 0)).toBe(3 * calls().length);
    const ledger = (await client.request<{ attempts: object[] }>('GET', `/api/v1/tasks/${ended[5]?.id}/attempts`)).body;
    expect(JSON.stringify(ledger)).toContain('host-1');
  });

  it('fail alone where one is too long', async () => {
    await work();
    world.ollama.contextWords = 10;
    const good = fresh(3);
    const bad = 'word '.repeat(20);
    const ended = await Promise.all([...good, bad].map((text) => embed(text)));
    world.ollama.contextWords = Number.POSITIVE_INFINITY;
    expect(ended.map(({ status }) => status)).toEqual(['completed', 'completed', 'completed', 'failed']);
    expect(ended[3]?.error).toMatchObject({ code: 'context_exceeded' });
  });

  it('are remembered by this process and by others, for everybody, and their tokens count as before', async () => {
    const worker = await work();
    const [one = '', other = ''] = fresh(2);
    const before = await embed([one, other, one]);
    expect(calls()).toEqual([[one, other]]);
    const again = await embed([other, one]);
    expect(calls()).toHaveLength(1);
    expect(again.output).toMatchObject({ embeddings: [embedding(other), embedding(one)], model: 'all-minilm:latest' });

    await until('it is kept', async () => (await keptOf()) >= 2);
    await worker.close();
    workers = [];
    await work();
    const third = await embed(fresh(1).concat(one, other));
    expect(calls()).toEqual([[one, other], [expect.any(String)]]);
    expect((third.output as { embeddings: number[][] }).embeddings.slice(1)).toEqual([
      embedding(one),
      embedding(other),
    ]);
    const tokens = async (id: string) => (await usageOf(id)).input_tokens;
    expect(await tokens(again.id)).toBe(3);
    const attempts = (id: string) =>
      world.db.selectFrom('attempts').select(['host', 'model_digest']).where('task_id', '=', id).execute();
    const [{ model_digest } = {}] = await attempts(before.id);
    expect(model_digest).toBeTruthy();
    expect(await attempts(again.id)).toEqual([{ host: null, model_digest }]);
    expect(await tokens(third.id)).toBe(3 + 3);
    expect(await tokens(before.id)).toBeGreaterThan(3);
  });

  it('are computed again by a model with another digest, where nothing is to be remembered, and while the table is away', async () => {
    const worker = await work();
    const [text = ''] = fresh(1);
    await embed(text);
    world.ollama.models = world.ollama.models.map((model) =>
      model.name.startsWith('all-minilm') ? { ...model, digest: 'sha256:another' } : model,
    );
    await worker.close();
    workers = [];
    const second = await work();
    await embed(text);
    expect(calls()).toEqual([[text], [text]]);
    await second.close();
    workers = [];
    const third = await work({ EMBEDDING_CACHE_MB: '0' });
    await embed(text);
    expect(calls()).toHaveLength(3);
    await third.close();
    workers = [];
    await sql`alter table embedding_cache rename to away`.execute(world.db);
    await work();
    expect(await embed(text)).toMatchObject({ status: 'completed' });
    expect(calls()).toHaveLength(4);
    await sql`alter table away rename to embedding_cache`.execute(world.db);
  });

  it('go out of the table a month after their last use, and the longest unused when there are too many', async () => {
    await sql`truncate embedding_cache`.execute(world.db);
    await sql`insert into embedding_cache (key, vector, tokens, used_at)
      select decode(lpad(to_hex(days), 8, '0'), 'hex'), '\\x00000000', 1, now() - days * interval '1 day'
      from unnest(array[0, 1, 2, 3, 29, 31, 40]) days`.execute(world.db);
    await prune(world.db);
    expect(await keptOf()).toBe(5);
    // In several steps, where they are more than one statement may take.
    await prune(world.db, 1, 2);
    const { rows } = await sql<{
      days: string;
    }>`select encode(key, 'hex') as days from embedding_cache order by key`.execute(world.db);
    expect(rows.map(({ days }) => Number(days))).toEqual([0, 1]);
  });

  async function keptOf(): Promise<number> {
    const { rows } = await sql<{ n: number }>`select count(*)::int as n from embedding_cache`.execute(world.db);
    return rows[0]?.n ?? 0;
  }
});
