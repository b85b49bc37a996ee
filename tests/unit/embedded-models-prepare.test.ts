import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, onTestFinished, test } from 'vitest';
import { prepareModels, sha256Of } from '../../src/embedded/models/prepare.ts';
import { createLog } from '../../src/log.ts';

const main = join(import.meta.dirname, '../../src/embedded/models/main.ts');
const log = createLog('silent');
const cacheDir = await mkdtemp(join(tmpdir(), 'sutazai-prepare-'));
afterAll(() => rm(cacheDir, { recursive: true, force: true }));

test('two that prepare at once both end with the same files, and a leftover of a killed one goes', async () => {
  const leftover = join(cacheDir, 'all-minilm-1.gguf.1-dead.tmp');
  await writeFile(leftover, 'half a model');
  await utimes(leftover, 0, 0);
  const [first, second] = await Promise.all([prepareModels(cacheDir, log), prepareModels(cacheDir, log)]);
  expect(first).toEqual(second);
  expect(first.map((model) => model.name)).toEqual(['all-minilm:latest', 'stories15m:latest']);
  for (const { path, sha256 } of first) expect(await sha256Of(path)).toBe(sha256);
  expect((await readdir(cacheDir)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
});

test('a model that does not match its checksum, or has none, is built again', async () => {
  const [minilm, stories] = await prepareModels(cacheDir, log);
  const damaged = await readFile(stories!.path);
  damaged[damaged.length >> 1] = damaged[damaged.length >> 1]! ^ 0xff;
  await writeFile(stories!.path, damaged);
  await rm(`${minilm!.path}.sha256`);
  expect(await prepareModels(cacheDir, log)).toEqual([minilm, stories]);
  expect(await sha256Of(stories!.path)).toBe(stories!.sha256);
  expect(await readFile(`${minilm!.path}.sha256`, 'utf8')).toContain(minilm!.sha256);
});

test('the process tells where it listens and ends with its parent', async () => {
  const options = { cacheDir, modelsDir: join(cacheDir, 'user'), logLevel: 'silent' };
  const child = fork(main, [JSON.stringify(options)]);
  onTestFinished(() => void child.kill('SIGKILL'));
  const [message] = await once(child, 'message');
  expect(message).toEqual({ ready: true, url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/) });
  child.kill('SIGINT');
  expect((await fetch(message.url)).status).toBe(200);
  child.disconnect();
  expect(await once(child, 'exit')).toEqual([0, null]);
});

test('the process that cannot start says why', async () => {
  const child = fork(main, [JSON.stringify({ cacheDir })], { stdio: 'ignore' });
  onTestFinished(() => void child.kill('SIGKILL'));
  const exit = once(child, 'exit');
  expect((await once(child, 'message'))[0]).toEqual({ error: expect.stringContaining('modelsDir') });
  expect(await exit).toEqual([1, null]);
});
