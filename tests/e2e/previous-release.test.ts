import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isInHistory, layOut } from '../previous/release.ts';
import { open } from '../support/open.ts';
import { anonymousClient, createWorld, type World } from '../support/world.ts';

/** A process of the previous release. */
async function startPrevious(folder: string, command: string, env: Record<string, string>) {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', 'src/main.ts', command], {
    cwd: folder,
    env: { PATH: process.env.PATH, ...env, LOG_LEVEL: 'warn' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'close');
  open.add(`previous ${command}`);
  let output = '';
  const url = await new Promise<string>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => {
        output += chunk;
        const up = /is up(?: at (\S+))?/.exec(output);
        if (up) resolve(up[1] ?? '');
      });
    void ended.then(() => reject(new Error(`it ended before it was up: ${output}`)));
  });
  return {
    url,
    output: () => output,
    async stop() {
      child.kill('SIGTERM');
      await ended;
      open.delete(`previous ${command}`);
    },
  };
}

// A shallow clone has no history; the schema itself is held to the rules of expand and contract by a test of its own.
describe.runIf(isInHistory())('the previous release on the schema of this one', () => {
  let folder: string;
  let world: World;
  let api: Awaited<ReturnType<typeof startPrevious>>;
  let worker: Awaited<ReturnType<typeof startPrevious>>;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sutazai-previous-'));
    layOut(folder);
    // An API of this release beside those of the one before, and no worker, so that it is clear who runs what.
    world = await createWorld({ backend: 'redis', mode: 'api' });
    [api, worker] = await Promise.all(['api', 'worker'].map((command) => startPrevious(folder, command, world.env)));
  });
  afterAll(async () => {
    await Promise.all([api?.stop(), worker?.stop()]);
    await world.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('answers requests and runs tasks of both, and whoever is logged in with one is with the other', async () => {
    const client = await world.client();
    const older = anonymousClient(api.url, client.token);
    for (const [submit, read] of [
      [client, older],
      [older, client],
    ] as const) {
      const { id } = await submit.submit('echo', { message: 'x' });
      expect(await read.waitForEnd(id)).toMatchObject({ status: 'completed', output: { message: 'x' } });
    }
    const login = await older.request<{ data: unknown[] }>('GET', '/api/v1/tasks?limit=10');
    expect([login.status, login.body.data.length]).toEqual([200, 2]);
    expect(api.output() + worker.output()).not.toMatch(/"level":(50|60)/);
  });
});
