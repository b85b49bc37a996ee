import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../support/product.ts';
import { freePort } from '../support/redis.ts';
import { readText } from '../support/sources.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const SECRET = `whsec_${Buffer.alloc(32, 5).toString('base64')}`;
/** The product needs no Python, so neither does a machine that works on it; CI has one, so that the page is held to it. */
const hasPython = spawnSync('python3', ['--version']).status === 0;
if (process.env.CI && !hasPython) throw new Error('no python3 here: in CI nothing is left out');

/** The receiver that docs/webhooks.md shows in this language. */
function receiverOf(language: string): string {
  const found = new RegExp(`\`\`\`${language} receiver\n([^]*?)\n\`\`\``).exec(readText('docs/webhooks.md'));
  if (!found?.[1]) throw new Error(`docs/webhooks.md shows no receiver in ${language}`);
  return found[1];
}

describe('the receiver of docs/webhooks.md', () => {
  let world: World;
  let client: Client;
  const started: ChildProcess[] = [];
  // Below the root, where its imports are found.
  const folder = mkdtempSync(join(ROOT, 'tests', '.receivers-'));
  beforeAll(async () => {
    world = await createWorld();
    client = await world.client();
  });
  afterAll(async () => {
    for (const child of started) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
    await world.close();
  });

  /** Starts it; answers its address and what it printed so far. */
  async function start(command: string, file: string, source: string): Promise<{ url: string; output: () => string }> {
    const path = join(folder, file);
    writeFileSync(path, source);
    const port = await freePort();
    const env = { PATH: process.env.PATH ?? '', TMPDIR: tmpdir(), WEBHOOK_SECRET: SECRET, PORT: String(port) };
    const child = spawn(command, [path], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    started.push(child);
    let printed = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (printed += chunk));
    await until('it is ready', () => printed.includes('ready'));
    return { url: `http://127.0.0.1:${port}/`, output: () => printed };
  }

  it('in TypeScript takes what is signed for it, also during a rotation, once each, and nothing else', () =>
    tryOut('ts', process.execPath, 'receiver.ts'));
  it.skipIf(!hasPython)('in Python does the same', () => tryOut('python', 'python3', 'receiver.py'));

  async function tryOut(language: string, command: string, file: string): Promise<void> {
    const { url, output } = await start(command, file, receiverOf(language));
    const { body: made } = await client.request('POST', '/api/v1/webhooks', { url, secret: SECRET });
    const task = await client.runTask('echo', { message: 'x' });
    await until('it says so', () => output().includes(`task.completed ${task.id}`));
    const statuses = async () => {
      const { body } = await client.request<{ data: Array<{ id: string; last_status: number; attempt: number }> }>(
        'GET',
        `/api/v1/webhooks/${made.id}/deliveries`,
      );
      return body.data;
    };
    await until('the answer is known', async () => (await statuses())[0]?.last_status === 204);
    await client.request('POST', `/api/v1/deliveries/${(await statuses())[0]?.id}/resend`);
    await until('it came twice', async () => (await statuses())[0]?.attempt === 2);
    await client.request('POST', `/api/v1/webhooks/${made.id}/rotate-secret`);
    await client.request('POST', `/api/v1/webhooks/${made.id}/test`);
    await until('the test', () => output().includes('webhook.test'));
    await client.request('POST', `/api/v1/webhooks/${made.id}/rotate-secret`);
    await client.request('POST', `/api/v1/webhooks/${made.id}/test`);
    await until('a refusal', async () => (await statuses())[0]?.last_status === 401);
    expect(
      output()
        .split('\n')
        .filter((line) => /^(task|webhook)\./.test(line)),
    ).toHaveLength(2);
  }
});
