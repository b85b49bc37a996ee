import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dataFolder, type Product, runCommand, startProduct } from '../support/product.ts';
import { until } from '../support/until.ts';
import { anonymousClient, type Client } from '../support/world.ts';

async function logIn(url: string, password: string): Promise<Client> {
  const { body } = await anonymousClient(url).request<{ access_token: string }>('POST', '/api/v1/auth/login', {
    username: 'admin',
    password,
  });
  return anonymousClient(url, body.access_token);
}

async function countByStatus(client: Client, batchId: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  let cursor: string | null = '';
  while (cursor !== null) {
    const page: { data: Array<{ status: string }>; next_cursor: string | null } = (
      await client.request<{ data: Array<{ status: string }>; next_cursor: string | null }>(
        'GET',
        `/api/v1/tasks?limit=200&batch_id=${batchId}${cursor ? `&cursor=${cursor}` : ''}`,
      )
    ).body;
    for (const { status } of page.data) counts[status] = (counts[status] ?? 0) + 1;
    cursor = page.next_cursor;
  }
  return counts;
}

describe('sutazai start on a machine where nothing is configured', () => {
  const folder = dataFolder();
  let product: Product;
  let client: Client;
  beforeAll(async () => {
    product = await startProduct(['start'], folder.env);
    client = await logIn(product.url, folder.adminPassword());
  });
  afterAll(async () => {
    await product.stop('SIGTERM');
    await folder.remove();
  });

  it('prints where it is and the login of the first administrator, once', () => {
    expect(product.output()).toContain(`login      admin / ${folder.adminPassword()}`);
  });

  it('says in /readyz which parts are embedded, without addresses', async () => {
    const { status, body } = await client.request<{
      status: string;
      dependencies: Array<{ name: string; kind: string }>;
    }>('GET', '/readyz');
    expect(status).toBe(200);
    expect(body.dependencies.map(({ name, kind }) => `${name}: ${kind}`)).toEqual([
      'database: Postgres (embedded)',
      'queues: BullMQ on Postgres (embedded)',
      'models: embedded model server (llama.cpp)',
      'vectors: embedded vector store (sqlite-vec)',
    ]);
    expect(JSON.stringify(body)).not.toMatch(/127\.0\.0\.1|localhost|:\d{4,5}/);
  });

  it('streams the tokens of a real model into the result of a chat task', async () => {
    const task = await client.runTask('chat', {
      messages: [{ role: 'user', content: 'Once upon a time' }],
      options: { num_predict: 30, seed: 1 },
    });
    expect(task).toMatchObject({ status: 'completed', model: 'stories15m:latest', usage: { output_tokens: 30 } });
    const { message } = task.output as { message: { content: string } };
    expect(message.content.split(' ').length).toBeGreaterThan(10);
  });

  it('finds the right sentence by its meaning', async () => {
    const points = [
      'The kettle is in the kitchen.',
      'Rockets carry people to the moon.',
      'The bank closes at five on Fridays.',
    ].map((text, id) => ({ id, text }));
    expect(await client.runTask('vector.upsert', { collection: 'notes', points })).toMatchObject({
      status: 'completed',
    });
    const found = await client.runTask('vector.search', {
      collection: 'notes',
      query: 'Where can I make tea?',
      limit: 1,
    });
    expect(found.output).toMatchObject({ hits: [{ id: 0, text: 'The kettle is in the kitchen.' }] });
  });

  it('refuses a second start on the same data and names the first', async () => {
    // Its ports are taken as well then, and that is not what there is to say.
    const { code, stderr } = await runCommand(['start'], { ...folder.env, HEALTH_PORT: new URL(product.url).port });
    expect(code).toBe(1);
    expect(stderr).toContain(`is in use by process ${product.pid} at ${product.url}`);
  });

  it('lets a worker on the same machine join, work and leave', async () => {
    const worker = await startProduct(['worker', '--lanes', 'system', '--concurrency', '2'], folder.env);
    expect(worker.output()).toContain('lanes: system');
    expect((await worker.stop('SIGTERM')).code).toBe(0);
    expect(await client.runTask('echo', { message: 'still here' })).toMatchObject({ status: 'completed' });
  });

  it('says which lanes there are when a worker is given another one', async () => {
    const { code, stderr } = await runCommand(['worker', '--lanes', 'nonsense'], folder.env);
    expect(code).toBe(1);
    expect(stderr).toContain('wants some of llm, embed, vector');
  });

  it('loses no accepted task when everything is killed during work and started again', async () => {
    const tasks = Array.from({ length: 24 }, (_, index) => ({
      type: 'generate',
      input: { prompt: `Lily saw ${index}`, options: { num_predict: 40 } },
    }));
    const { status, body } = await client.request<{ batch_id: string }>('POST', '/api/v1/tasks/batch', { tasks });
    expect(status).toBe(202);
    while (!(await countByStatus(client, body.batch_id)).completed);

    const children = execFileSync('pgrep', ['-f', folder.dir], { encoding: 'utf8' }).trim().split('\n').map(Number);
    await product.stop('SIGKILL');
    for (const pid of children) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It went with its parent.
      }
    }
    product = await startProduct(['start'], folder.env);
    client = await logIn(product.url, folder.adminPassword());
    const before = await countByStatus(client, body.batch_id);
    expect(before.completed).toBeLessThan(24);

    let counts = before;
    while (counts.completed !== 24) counts = await countByStatus(client, body.batch_id);
    expect(counts).toEqual({ completed: 24 });
  });

  it('starts its database again when that is killed, and goes on', async () => {
    const cluster = join(folder.dir, 'postgres', 'cluster');
    process.kill(Number(readFileSync(join(cluster, 'postmaster.pid'), 'utf8').split('\n')[0]), 'SIGKILL');
    await until('a task to be done again', async () => {
      const { status, body } = await client.request(
        'POST',
        '/api/v1/tasks',
        { type: 'echo', input: { message: 'again' } },
        { prefer: 'wait=20' },
      );
      return status === 200 && body.status === 'completed';
    });
    expect(product.output()).toContain('the embedded Postgres ended by itself; starting it again');
  });

  it('stops on SIGTERM with exit code 0 and keeps its data', async () => {
    const { code } = await product.stop('SIGTERM');
    expect(code).toBe(0);
    product = await startProduct(['start'], folder.env);
    client = await logIn(product.url, folder.adminPassword());
    expect(product.output()).not.toContain('login      admin');
    const { body } = await client.request<{ data: unknown[] }>('GET', '/api/v1/tasks?type=vector.search');
    expect(body.data).toHaveLength(1);
  });

  it('names the port that is in use and another one to take, before anything is started', async () => {
    const other = dataFolder();
    const { port } = new URL(product.url);
    const { code, stderr } = await runCommand(['start'], { ...other.env, PORT: port });
    const started = existsSync(join(other.dir, 'postgres'));
    await other.remove();
    expect({ code, stderr, started }).toEqual({
      code: 1,
      stderr: expect.stringMatching(`^Port ${port} on 127.0.0.1 is in use.* PORT=${Number(port) + 1}\n$`),
      started: false,
    });
  });

  it('takes its embedded parts with it when a second signal stops it at once', async () => {
    process.kill(product.pid, 'SIGINT');
    expect((await product.stop('SIGTERM')).code).toBe(130);
    await until('nothing of it runs', () => spawnSync('pgrep', ['-f', folder.dir]).status === 1, { withinMs: 10_000 });
  });
});

describe('a configured service that cannot be reached', () => {
  const folder = dataFolder();
  afterAll(() => folder.remove());

  it.each([
    ['DATABASE_URL', 'postgres://nobody:x@127.0.0.1:64999/none'],
    ['REDIS_URL', 'redis://127.0.0.1:64999'],
    ['OLLAMA_HOST', '127.0.0.1:64999'],
    ['QDRANT_URL', 'http://127.0.0.1:64999'],
  ])('stops the start and names %s', async (name, value) => {
    const { code, stderr } = await runCommand(['start'], { ...folder.env, LOG_LEVEL: 'error', [name]: value });
    expect(code).toBe(1);
    expect(stderr).toMatch(new RegExp(`cannot be used \\(.*ECONNREFUSED.*\\): look at ${name}`));
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it.each(['worker', 'api'])('does not stand in for the settings of a lone %s on taken ports', async (mode) => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const more = { DATABASE_URL: 'postgres://nobody:x@127.0.0.1:64999/none', PORT: `${port}`, HEALTH_PORT: `${port}` };
    const { code, stderr } = await runCommand([mode], { ...folder.env, ...more });
    taken.close();
    expect([code, stderr.includes(' in use')]).toEqual([1, false]);
    expect(stderr).toContain('JWT_SECRET_KEY, ENCRYPTION_KEY, OLLAMA_HOST, QDRANT_URL are not set');
  });
});

describe('a data directory that cannot be used', () => {
  it('is named when it is a file, and when its secrets cannot be read', async () => {
    const folder = dataFolder();
    const file = join(folder.dir, 'file');
    writeFileSync(file, '');
    const asFile = await runCommand(['start'], { ...folder.env, DATA_DIR: file });
    writeFileSync(join(folder.dir, 'secrets.json'), '{ not json');
    const corrupt = await runCommand(['start'], folder.env);
    await folder.remove();
    expect([asFile.code, corrupt.code]).toEqual([1, 1]);
    expect(asFile.stderr).toContain(`DATA_DIR=${file} cannot be made`);
    expect(corrupt.stderr).toMatch(/secrets\.json cannot be read: .*Put a good copy back/);
    for (const { stderr } of [asFile, corrupt]) expect(stderr).not.toMatch(/^\s+at /m);
  });

  it('is named when its disk is full', async ({ skip }) => {
    const folder = dataFolder();
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4k', 'tmpfs', folder.dir]).status === 0;
    if (!mounted) await folder.remove();
    skip(!mounted, 'a small disk can only be made by root where mounting is allowed');
    try {
      writeFileSync(join(folder.dir, 'filler'), Buffer.alloc(4096));
    } catch {
      // Full is what it should be.
    }
    const { code, stderr } = await runCommand(['start'], folder.env);
    execFileSync('umount', [folder.dir]);
    await folder.remove();
    expect(code).toBe(1);
    expect(stderr).toMatch(/DATA_DIR=.* cannot be written to|cannot be written \(ENOSPC\)/);
    expect(stderr).not.toContain('is in use');
  });
});
