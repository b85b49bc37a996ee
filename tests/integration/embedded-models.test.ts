import { createHash } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ollama } from 'ollama';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ModelServer, startModelServer } from '../../src/embedded/models/server.ts';
import { refusals } from '../support/ollama-refusals.ts';

const cacheDir = join(process.env.SUTAZAI_CACHE_DIR ?? join(import.meta.dirname, '../../.cache'), 'models');
const storiesFile = join(cacheDir, 'stories15m-1.gguf');
/** Emits the message of each log line. */
const logged = new EventEmitter();
const log = pino({ level: 'info' }, { write: (line: string) => logged.emit(JSON.parse(line).msg) });
let modelsDir: string;
let server: ModelServer;
let ollama: Ollama;

beforeAll(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'sutazai-models-'));
  server = await startModelServer({ cacheDir, modelsDir, log });
  ollama = new Ollama({ host: server.url });
});

afterAll(async () => {
  await server.close();
  await rm(modelsDir, { recursive: true, force: true });
});

async function post(path: string, body: unknown) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const response = await fetch(server.url + path, { method: 'POST', body: text });
  return { status: response.status, type: response.headers.get('content-type'), text: await response.text() };
}

const lines = (text: string): Record<string, unknown>[] => JSON.parse(`[${text.trim().replaceAll('\n', ',')}]`);
const cosine = (a: number[] = [], b: number[] = []) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
const running = async (name: string) => (await ollama.ps()).models.find((model) => model.name === `${name}:latest`);
const story = { model: 'stories15m', prompt: 'Once upon a time', options: { num_predict: 12, seed: 7 } };

describe('what there is', () => {
  test('the server answers as Ollama does and names itself embedded', async () => {
    expect(await (await fetch(server.url)).text()).toBe('Ollama is running');
    expect((await fetch(server.url, { method: 'HEAD' })).status).toBe(200);
    expect((await fetch(`${server.url}/api/tags`, { method: 'HEAD' })).status).toBe(200);
    expect(await ollama.version()).toEqual({ version: '0.0.0-sutazai-embedded' });
    expect((await fetch(`${server.url}/api/nothing`)).status).toBe(404);
  });

  test('both built-in models are listed with the digest of their files', async () => {
    const { models } = await ollama.list();
    expect(models.map((model) => model.name)).toEqual(['all-minilm:latest', 'stories15m:latest']);
    const sha256 = createHash('sha256').update(await readFile(storiesFile));
    expect(models[1]).toMatchObject({
      digest: sha256.digest('hex'),
      details: { family: 'llama', quantization_level: 'Q8_0' },
    });
    expect(models[1]?.details.parameter_size).toBe('15.2M');
  });

  test('show tells what a model can do and how much it sees', async () => {
    const minilm = await ollama.show({ model: 'all-minilm' });
    expect(minilm.capabilities).toEqual(['embedding']);
    expect(minilm.model_info).toMatchObject({ 'bert.context_length': 512, 'bert.embedding_length': 384 });
    const stories = await ollama.show({ model: 'STORIES15M:latest' });
    expect(stories).toMatchObject({ capabilities: ['completion'], template: '{{ .Prompt }}' });
    expect(stories.model_info).toMatchObject({ 'llama.context_length': 256 });
  });
});

describe('writing', () => {
  test('a story comes as lines, the last with reason and timings, and the same seed writes it again', async () => {
    const longer = { ...story, options: { ...story.options, num_predict: 60 } };
    const streamed = await post('/api/generate', longer);
    expect(streamed).toMatchObject({ status: 200, type: 'application/x-ndjson' });
    const events = lines(streamed.text);
    expect(events.slice(0, -1).every((event) => event.done === false && event.model === 'stories15m')).toBe(true);
    const last = events.at(-1);
    expect(last).toMatchObject({ done: true, done_reason: 'length', eval_count: 60, response: '' });
    for (const key of ['total_duration', 'load_duration', 'prompt_eval_duration', 'eval_duration']) {
      expect(last?.[key]).toBeGreaterThan(0);
      expect(Number.isInteger(last?.[key])).toBe(true);
    }
    const text = events.map((event) => event.response).join('');
    const whole = await ollama.generate({ ...longer, stream: false });
    expect(whole.response).toBe(text);
    expect(whole.prompt_eval_count).toBe(5);
    expect(text).toMatch(/^,? there was a/);
  });

  test('a story ends by itself', async () => {
    const options = { seed: 5, num_predict: 1000 };
    const answer = await ollama.generate({ model: 'stories15m', prompt: 'The little robot', options });
    expect(answer).toMatchObject({ done_reason: 'stop' });
    expect(answer.response).not.toContain('<s>');
  });

  test('a chat streams its message, and a stop text ends it without being part of it', async () => {
    const messages = [{ role: 'user', content: 'Lily found a red ball in the park.' }];
    let text = '';
    let reason: string | undefined;
    const options = { seed: 3, stop: ['.'], num_predict: 80 };
    for await (const part of await ollama.chat({ model: 'stories15m', messages, stream: true, options })) {
      expect(part.message.role).toBe('assistant');
      text += part.message.content;
      reason = part.done_reason || reason;
    }
    expect(text.length).toBeGreaterThan(5);
    expect(text).not.toContain('.');
    expect(reason).toBe('stop');
  });

  test('a JSON schema shapes the answer', async () => {
    const format = {
      type: 'object',
      properties: {
        animal: { type: 'string', enum: ['dog', 'cat'] },
        age: { type: 'integer' },
        lines: { type: 'array', minItems: 12, maxItems: 12, items: { type: 'string', minLength: 60, maxLength: 90 } },
        note: { anyOf: [{ type: 'string', minLength: 1, maxLength: 12 }, { type: 'boolean' }] },
      },
    };
    const options = { seed: 1 };
    const answer = await ollama.generate({ model: 'stories15m', prompt: 'A pet is', format, options });
    const pet = JSON.parse(answer.response ?? '');
    expect(Object.keys(pet)).toEqual(['animal', 'age', 'lines', 'note']);
    expect(['dog', 'cat']).toContain(pet.animal);
    expect(Number.isInteger(pet.age)).toBe(true);
    expect(['string', 'boolean']).toContain(typeof pet.note);
    // Long enough for the model to want to end its story: it must not, in the middle of its JSON.
    expect(pet.lines).toHaveLength(12);
    expect(answer.done_reason).toBe('stop');
  });

  test('a prompt beyond the context is cut, unless the client forbids it', async () => {
    const request = { ...story, prompt: 'The cat sat on the mat. '.repeat(80), stream: false };
    expect(JSON.parse((await post('/api/generate', request)).text).prompt_eval_count).toBe(255);
    const strict = await post('/api/generate', { ...request, truncate: false });
    expect(strict).toMatchObject({ status: 400, text: '{"error":"the input length exceeds the context length"}' });
  });

  test.each([true, false])('a client that goes away frees the slot (streaming: %s)', async (stream) => {
    // Without the abort this answer would take longer than a test may: nothing ends it before its 2560th token.
    const format = { type: 'array', minItems: 300, items: { type: 'string', minLength: 60, maxLength: 90 } };
    await ollama.generate({ model: 'stories15m', prompt: '', keep_alive: 0 });
    const loaded = once(logged, 'the model is loaded');
    const leaving = new AbortController();
    const body = JSON.stringify({ model: 'stories15m', prompt: 'Once', format, stream });
    const gone = fetch(`${server.url}/api/generate`, { method: 'POST', body, signal: leaving.signal });
    if (stream) expect((await gone).status).toBe(200);
    else await loaded;
    const next = ollama.generate({ ...story, stream: false });
    leaving.abort();
    if (!stream) await expect(gone).rejects.toThrow('aborted');
    expect((await next).eval_count).toBe(12);
  });

  test('the abort of the client ends its stream', async () => {
    const other = new Ollama({ host: server.url });
    const options = { num_predict: 2000, seed: 1 };
    const parts = await other.generate({ model: 'stories15m', prompt: 'Once', stream: true, options });
    const read = async () => {
      for await (const _ of parts) other.abort();
    };
    await expect(read()).rejects.toThrow('aborted');
    expect((await ollama.generate({ ...story, stream: false })).eval_count).toBe(12);
  });
});

describe('embedding', () => {
  test('related sentences lie closer than unrelated ones, on the unit sphere', async () => {
    const input = ['A man is eating food.', 'A man eats a piece of bread.', 'The stock market fell sharply today.', ''];
    const { embeddings, prompt_eval_count } = await ollama.embed({ model: 'all-minilm', input });
    const [food, bread, market, empty] = embeddings;
    expect(embeddings.map((vector) => vector.length)).toEqual([384, 384, 384, 384]);
    expect(cosine(food, food)).toBeCloseTo(1, 5);
    expect(cosine(food, bread)).toBeGreaterThan(0.6);
    expect(cosine(food, market)).toBeLessThan(0.2);
    expect(cosine(empty, empty)).toBeCloseTo(1, 5);
    expect(prompt_eval_count).toBeGreaterThan(20);
    // BERT's own example of pieces of a word: un ##aff ##able, between [CLS] and [SEP].
    expect((await ollama.embed({ model: 'all-minilm', input: 'unaffable' })).prompt_eval_count).toBe(5);
  });

  test('the old route, fewer dimensions and no input at all work as in Ollama', async () => {
    const { embedding } = await ollama.embeddings({ model: 'all-minilm', prompt: 'hello' });
    const { embeddings } = await ollama.embed({ model: 'all-minilm', input: 'hello', dimensions: 64 });
    expect(embedding).toHaveLength(384);
    expect(cosine(embeddings[0], embeddings[0])).toBeCloseTo(1, 5);
    expect(cosine(embeddings[0], embedding.slice(0, 64))).toBeGreaterThan(0);
    expect(JSON.parse((await post('/api/embed', { model: 'all-minilm' })).text).embeddings).toEqual([]);
  });

  test('a text beyond the context is cut, or refused when the client forbids it', async () => {
    const input = 'word '.repeat(700);
    expect((await ollama.embed({ model: 'all-minilm', input })).prompt_eval_count).toBe(512);
    const strict = await post('/api/embed', { model: 'all-minilm', input, truncate: false });
    expect(strict).toMatchObject({ status: 400, text: '{"error":"the input length exceeds the context length"}' });
  });
});

describe('keeping in memory', () => {
  test('an empty prompt loads, ps tells until when, and keep_alive 0 unloads', async () => {
    const loaded = await post('/api/generate', { model: 'stories15m', keep_alive: '10m', stream: false });
    expect(JSON.parse(loaded.text)).toMatchObject({ done: true, done_reason: 'load', response: '' });
    const stories = await running('stories15m');
    expect(stories).toMatchObject({ size_vram: 0, context_length: 256 });
    const minutes = (new Date(stories?.expires_at ?? 0).getTime() - Date.now()) / 60_000;
    expect(minutes).toBeGreaterThan(9);
    expect(minutes).toBeLessThanOrEqual(10);
    const unloaded = await ollama.chat({ model: 'stories15m', messages: [], keep_alive: 0 });
    expect(unloaded).toMatchObject({ done_reason: 'unload', message: { role: 'assistant', content: '' } });
    expect(await running('stories15m')).toBeUndefined();
  });

  test('the embedder is unloaded by the same request, though it cannot generate', async () => {
    await ollama.embed({ model: 'all-minilm', input: 'hello' });
    expect(await running('all-minilm')).toBeDefined();
    await ollama.generate({ model: 'all-minilm', prompt: '', keep_alive: 0 });
    expect(await running('all-minilm')).toBeUndefined();
  });

  test('another num_ctx gives the model another context', async () => {
    const request = {
      ...story,
      prompt: 'The cat sat on the mat. '.repeat(20),
      options: { num_ctx: 64, num_predict: 1 },
    };
    await ollama.generate(story);
    expect((await ollama.generate(request)).prompt_eval_count).toBe(63);
    expect(await running('stories15m')).toMatchObject({ context_length: 64 });
  });

  test('keep_alive 0 unloads after the answer, a negative one keeps for ever', async () => {
    await post('/api/generate', { ...story, keep_alive: 0 });
    expect(await running('stories15m')).toBeUndefined();
    await ollama.generate({ ...story, stream: false, keep_alive: -1 });
    const forever = await running('stories15m');
    expect(new Date(forever?.expires_at ?? 0).getFullYear()).toBeGreaterThan(2200);
  });
});

test.each(refusals)('$what is refused in the words of Ollama', async ({ path, body, status, text }) => {
  const answer = await post(path, body);
  expect(answer.status).toBe(status);
  expect(JSON.parse(answer.text).error).toContain(text);
});
