import OpenAI, { toFile } from 'openai';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { spawnSutazai } from '../support/process.ts';
import { until } from '../support/until.ts';
import { createWorld, type World } from '../support/world.ts';

const LINES = 120;
const PATIENCE = { withinMs: 60_000, everyMs: 200 };

let world: World;
beforeAll(async () => {
  world = await createWorld({ mode: 'api', env: { LEASE_SECONDS: '2', OLLAMA_NUM_PARALLEL: '8' } });
});
afterAll(() => world.close());

it('a batch comes to its end through a killed worker, with each line once in its file', async () => {
  const client = await world.client();
  const openai = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: client.token, maxRetries: 0 });
  const lines = Array.from({ length: LINES }, (_, n) => ({
    ...{ custom_id: `line-${n}`, method: 'POST', url: '/v1/chat/completions' },
    body: { model: 'tinyllama', messages: [{ role: 'user', content: `question ${n}` }] },
  }));
  let answered = 0;
  // The first worker gets so far, and is killed with what it runs.
  world.ollama.script = () => ++answered > LINES / 2;
  const worker = () => spawnSutazai(['worker'], { ...world.env, WORKER_LANES: 'llm', WORKER_CONCURRENCY: '8' });
  const first = worker();
  const text = lines.map((line) => JSON.stringify(line)).join('\n');
  const file = await openai.files.create({ file: await toFile(Buffer.from(text), 'in.jsonl'), purpose: 'batch' });
  const asked = { input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' } as const;
  const { id } = await openai.batches.create(asked);
  await until('the first worker is in the middle of it', () => answered > LINES / 2 + 4, PATIENCE);
  await first.kill('SIGKILL');
  world.ollama.script = undefined;
  const second = worker();
  const done = await until(
    'the batch has ended',
    async () => {
      const batch = await openai.batches.retrieve(id);
      return batch.status === 'completed' ? batch : undefined;
    },
    PATIENCE,
  );
  expect(done).toMatchObject({ request_counts: { total: LINES, completed: LINES, failed: 0 }, error_file_id: null });
  const output = await (await openai.files.content(done.output_file_id ?? '')).text();
  const ids = output
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).custom_id);
  expect(ids).toHaveLength(LINES);
  expect(new Set(ids).size).toBe(LINES);
  const lost = await world.db.selectFrom('attempts').select('task_id').where('outcome', '=', 'lost').execute();
  expect(lost.length).toBeGreaterThan(0);
  await second.kill('SIGTERM');
});
