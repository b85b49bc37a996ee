import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pino from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { UsageError } from '../../src/errors.ts';
import { startHealthServer } from '../../src/health/server.ts';
import { createLog } from '../../src/log.ts';
import { type PrivateRedis, startPrivateRedis } from '../support/redis.ts';
import { type Relay, startRelay } from '../support/relay.ts';
import { createWorld, type World } from '../support/world.ts';

const log = createLog('silent');

async function ask(url: string, path: string, method = 'GET') {
  const answer = await fetch(url + path, { method });
  const text = await answer.text();
  return { status: answer.status, type: answer.headers.get('content-type'), text };
}

describe('the health port of a process', () => {
  /** So long that somebody has asked before a block shows. */
  const STALLED_MS = 2_500;
  let child: ChildProcess;
  let url: string;
  beforeAll(async () => {
    const script = fileURLToPath(new URL('../support/blocked-loop.ts', import.meta.url));
    child = fork(script, [String(STALLED_MS)], { execArgv: ['--disable-warning=ExperimentalWarning'] });
    const [message] = (await once(child, 'message')) as [{ url: string }];
    url = message.url;
  });
  afterAll(async () => {
    const exited = once(child, 'exit');
    child.disconnect();
    await exited;
  });

  it('answers what the main loop answers, what is not there, what fails, and only to those who ask', async () => {
    expect(await ask(url, '/healthz')).toMatchObject({ status: 200, text: '{"status":"ok"}' });
    expect(await ask(url, '/mine?x=1')).toEqual({ status: 203, type: 'text/plain', text: 'from the main loop' });
    expect((await ask(url, '/nothing')).status).toBe(404);
    expect((await ask(url, '/broken')).status).toBe(500);
    expect((await ask(url, '/healthz', 'POST')).status).toBe(405);
    expect((await ask(url, '/healthz', 'HEAD')).status).toBe(200);
  });

  it('says within seconds that an answer does not come', async () => {
    expect(await ask(url, '/never')).toMatchObject({ status: 503 });
    expect((await ask(url, '/healthz')).status).toBe(200);
  });

  it('goes on answering while the main loop is blocked, says so, and is well again afterwards', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sutazai-health-'));
    const end = join(folder, 'end');
    child.send({ block: end });
    await once(child, 'message');
    const blocked = once(child, 'message');
    expect((await ask(url, '/healthz')).status).toBe(200);
    await expect.poll(async () => (await ask(url, '/healthz')).status).toBe(503);
    const { text } = await ask(url, '/healthz');
    expect(JSON.parse(text)).toMatchObject({ status: 'stalled' });
    expect(JSON.parse(text).silent_ms).toBeGreaterThan(STALLED_MS);
    expect((await ask(url, '/mine')).status).toBe(503);
    await writeFile(end, '');
    await blocked;
    await rm(folder, { recursive: true });
    await expect.poll(async () => (await ask(url, '/healthz')).status).toBe(200);
    expect((await ask(url, '/mine')).status).toBe(203);
  });

  it('names what is wrong although the loop turns, for as long as it is', async () => {
    child.send({ problems: ['the lane llm stands still'] });
    await expect.poll(async () => (await ask(url, '/healthz')).status).toBe(503);
    expect(JSON.parse((await ask(url, '/healthz')).text).problems).toEqual(['the lane llm stands still']);
    child.send({ problems: [] });
    await expect.poll(async () => (await ask(url, '/healthz')).status).toBe(200);
  });

  it('does not call a process stuck that was frozen as a whole', async () => {
    for (let round = 0; round < 4; round++) {
      child.kill('SIGSTOP');
      await new Promise((resolve) => setTimeout(resolve, STALLED_MS * 0.6));
      // They wait in the socket, and are read before anything else.
      const waiting = Array.from({ length: 5 }, () => ask(url, '/healthz'));
      await new Promise((resolve) => setTimeout(resolve, STALLED_MS * 0.6));
      child.kill('SIGCONT');
      expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual(waiting.map(() => 200));
    }
  });

  it('cuts clients off that do not say what they want', async () => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n');
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.resume();
    await closed;
  });
});

it('a health port that is in use stops the start and names the variable', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as { port: number };
  const options = { host: '127.0.0.1', port, problems: () => [], answer: async () => undefined, log };
  await expect(startHealthServer(options)).rejects.toThrow(UsageError);
  await expect(startHealthServer(options)).rejects.toThrow('HEALTH_PORT');
  await new Promise((resolve) => other.close(resolve));
});

it('a thread that dies says why', async () => {
  let said = '';
  const answer = async () => ({ status: 99_999, type: 'text/plain', body: 'no status that HTTP has' });
  const spoken = pino({}, { write: (line: string) => (said += line) });
  const server = await startHealthServer({ host: '127.0.0.1', port: 0, problems: () => [], answer, log: spoken });
  await ask(server.url, '/').catch(() => {});
  await expect.poll(() => said).toMatch(/Invalid status code.*the thread of the health port ended by itself/);
  await server.close();
});

describe('a worker', () => {
  let world: World;
  let redis: PrivateRedis;
  let postgres: Relay;
  beforeEach(async () => {
    redis = await startPrivateRedis();
    world = await createWorld({ backend: 'redis', mode: 'api', env: { REDIS_URL: redis.url } });
    postgres = await startRelay(world.databaseUrl);
  });
  afterEach(async () => {
    postgres.mend();
    await world.close();
    await postgres.close();
    await redis.close();
  });

  it('says on its health port whether it can claim, and that it is alive all the while', async () => {
    const worker = await world.join('worker', { DATABASE_URL: postgres.url, HEALTH_PORT: '0' });
    const url = worker.healthUrl as string;
    const ready = async () => {
      const { status, text } = await ask(url, '/readyz');
      return [status, JSON.parse(text).status];
    };
    const within5s = { timeout: 5_000 };
    expect(await ready()).toEqual([200, 'ready']);
    postgres.cut();
    await expect.poll(ready, within5s).toEqual([503, 'unavailable']);
    postgres.mend();
    await expect.poll(ready, within5s).toEqual([200, 'ready']);
    await redis.signal('SIGKILL');
    await expect.poll(ready, within5s).toEqual([503, 'unavailable']);
    expect((await ask(url, '/healthz')).status).toBe(200);
    await redis.start();
    await expect.poll(ready, { timeout: 10_000 }).toEqual([200, 'ready']);
    // What it runs holds its end up until it was asked.
    const { promise: asked, resolve: goOn } = Promise.withResolvers<void>();
    world.ollama.script = () => asked.then(() => false);
    const called = world.ollama.nextCall('/api/chat');
    await (await world.client()).submit('chat', { messages: [{ role: 'user', content: 'x' }] });
    await called;
    const closing = worker.close();
    expect(await ready()).toEqual([503, 'stopping']);
    goOn();
    await closing;
    await expect(ask(url, '/healthz')).rejects.toThrow();
  });
});
