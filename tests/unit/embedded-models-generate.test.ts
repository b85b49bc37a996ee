import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createCatalog, type Model } from '../../src/embedded/models/catalog.ts';
import { type Generated, type GenerateInput, generate } from '../../src/embedded/models/generate.ts';
import { prepareModels } from '../../src/embedded/models/prepare.ts';
import { chatPrompt } from '../../src/embedded/models/prompt.ts';
import { createRuntime } from '../../src/embedded/models/runtime.ts';
import { createLog } from '../../src/log.ts';

const cacheDir = join(process.env.SUTAZAI_CACHE_DIR ?? join(import.meta.dirname, '../../.cache'), 'models');
const log = createLog('silent');
const runtime = createRuntime({ log, parallel: 1 });
let model: Model;

beforeAll(async () => {
  const prepared = await prepareModels(cacheDir, log);
  model = await createCatalog({ prepared, cacheDir, modelsDir: join(cacheDir, 'none'), log }).getModel('stories15m');
});

afterAll(() => runtime.close());

function input(content: string, options: GenerateInput['options']): GenerateInput {
  const prompt: GenerateInput['prompt'] = (given) => chatPrompt([{ role: 'user', content }], given);
  return { model, options, format: undefined, keepAliveMs: undefined, truncate: true, shift: true, prompt };
}

async function collect(events: AsyncIterable<Generated>): Promise<Generated[]> {
  const all: Generated[] = [];
  for await (const event of events) all.push(event);
  return all;
}

test('an abort ends a generation at its next token and gives the slot back', async () => {
  const leaving = new AbortController();
  const story = generate(runtime, input('Once upon a time', { num_predict: 2000 }), leaving.signal);
  expect(await story.next()).toMatchObject({ done: false, value: { done: false } });
  leaving.abort();
  await expect(story.next()).rejects.toMatchObject({ status: 499 });
  const next = generate(runtime, input('Once', { num_predict: 1 }), new AbortController().signal);
  expect((await collect(next)).at(-1)).toMatchObject({ done: true, reason: 'length' });
});

test('a caller that stops reading gives the slot back, and one that aborted before never takes it', async () => {
  for await (const event of generate(runtime, input('Once', {}), new AbortController().signal)) {
    expect(event.done).toBe(false);
    break;
  }
  const aborted = generate(runtime, input('Once', {}), AbortSignal.abort());
  await expect(aborted.next()).rejects.toMatchObject({ status: 499 });
  const next = generate(runtime, input('Once', { num_predict: 1 }), new AbortController().signal);
  expect((await collect(next)).at(-1)).toMatchObject({ done: true });
});

test('an answer that may not shift its context ends when that is full', async () => {
  const one = { ...input('Once upon a time there was', { num_ctx: 32 }), shift: false };
  const last = (await collect(generate(runtime, one, new AbortController().signal))).at(-1);
  expect(last).toMatchObject({ done: true, reason: 'length' });
  if (!last?.done) throw new Error('no end');
  expect(last.timings.prompt_eval_count + last.timings.eval_count).toBe(32);
});
