import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { QdrantClient } from '@qdrant/js-client-rest';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startVectorStore, type VectorStore } from '../../src/embedded/vectors/server.ts';
import { createLog } from '../../src/log.ts';
import { clientOf, startTestVectorStore } from '../support/vector-store.ts';

const MAIN = join(import.meta.dirname, '../../src/embedded/vectors/main.ts');
const UUID = '5c56c793-69f3-4fbf-87e6-c4bf54c28c26';
const children: ChildProcess[] = [];
const log = createLog('silent');
let dataDir: string;
let store: VectorStore;
let client: QdrantClient;

beforeEach(async () => {
  const started = await startTestVectorStore();
  ({ dataDir, store, client } = started);
  // A test may have put another one on the same folder.
  return () => store.close().then(started.close);
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

async function startChild(options: object): Promise<{ child: ChildProcess; message: Record<string, unknown> }> {
  const child = fork(MAIN, [JSON.stringify({ logLevel: 'silent', ...options })], { execArgv: [] });
  children.push(child);
  const [message] = await once(child, 'message');
  return { child, message };
}

describe('collections', () => {
  test('are made, listed, described, changed and dropped by the official client', async () => {
    expect(
      await client.createCollection('notes', { vectors: { size: 3, distance: 'Cosine' }, metadata: { model: 'm' } }),
    ).toBe(true);
    expect(await client.getCollections()).toEqual({ collections: [{ name: 'notes' }] });
    expect(await client.collectionExists('notes')).toEqual({ exists: true });
    expect(await client.collectionExists('other')).toEqual({ exists: false });
    await client.updateCollection('notes', { optimizers_config: { indexing_threshold: 5 }, hnsw_config: { m: 8 } });
    expect(await client.getCollection('notes')).toMatchObject({
      status: 'green',
      optimizer_status: 'ok',
      points_count: 0,
      segments_count: 1,
      payload_schema: {},
      config: {
        params: { vectors: { size: 3, distance: 'Cosine' } },
        hnsw_config: { m: 8, ef_construct: 100, full_scan_threshold: expect.any(Number) },
        optimizer_config: { indexing_threshold: 5, default_segment_number: 0, flush_interval_sec: 5 },
        metadata: { model: 'm' },
      },
    });
    expect(await client.deleteCollection('notes')).toBe(true);
    expect(await client.deleteCollection('notes')).toBe(false);
  });

  test('keep payload indexes and count the points that have the field', async () => {
    await client.createCollection('notes', { vectors: { size: 1, distance: 'Dot' } });
    await client.upsert('notes', {
      wait: true,
      points: [
        { id: 1, vector: [1], payload: { user: 'a' } },
        { id: 2, vector: [1] },
      ],
    });
    await client.createPayloadIndex('notes', {
      field_name: 'user',
      field_schema: { type: 'keyword', is_tenant: true },
      wait: true,
    });
    await client.createPayloadIndex('notes', { field_name: 'n', field_schema: 'integer', wait: true });
    expect((await client.getCollection('notes')).payload_schema).toEqual({
      user: { data_type: 'keyword', params: { type: 'keyword', is_tenant: true }, points: 1 },
      n: { data_type: 'integer', points: 0 },
    });
    expect(await client.deletePayloadIndex('notes', 'n', { wait: true })).toMatchObject({ status: 'completed' });
    expect(Object.keys((await client.getCollection('notes')).payload_schema)).toEqual(['user']);
  });
});

describe('points', () => {
  beforeEach(async () => {
    await client.createCollection('notes', { vectors: { size: 2, distance: 'Euclid' } });
  });
  const payloads = async () => (await client.scroll('notes')).points.map(({ id, payload }) => ({ id, payload }));

  test('keep every form of id and come back as they were sent', async () => {
    // A name that every object has, whatever is in it.
    const named: Record<string, unknown> = { constructor: 1 };
    const big = 18_446_744_073_709_551_615n as unknown as number;
    const points: { id: number | string; vector: number[]; payload?: Record<string, unknown> }[] = [
      { id: UUID.toUpperCase(), vector: [0.1, 0.2], payload: { a: 9_007_199_254_740_993n, ...named } },
      { id: big, vector: [1, 2] },
      { id: 0, vector: [3, 4] },
    ];
    expect(await client.upsert('notes', { wait: true, points })).toEqual({ operation_id: 0, status: 'completed' });
    const shown: unknown[] = [
      { id: 0, payload: {} },
      { id: big, payload: {} },
      { id: UUID, payload: { a: 9_007_199_254_740_993n, ...named } },
    ];
    expect(await payloads()).toEqual(shown);
    const ids = [UUID.replaceAll('-', ''), 7, 0];
    const chosen = { ids, with_payload: ['constructor'], with_vector: true };
    const retrieved: unknown[] = await client.retrieve('notes', chosen);
    expect(retrieved).toEqual([
      { id: UUID, payload: named, vector: [0.1, 0.2] },
      { id: 0, payload: {}, vector: [3, 4] },
    ]);
    const { data } = await client.api().getPoint({ collection_name: 'notes', id: 0 });
    expect(data.result).toEqual(retrieved[1]);
  });

  test('are written in batch form, and again without a change but the version', async () => {
    const batch = {
      ids: [1, 2],
      vectors: [
        [0, 0],
        [3, 4],
      ],
      payloads: [{ a: 1 }, null],
    };
    expect(await client.upsert('notes', { wait: false, batch })).toEqual({ operation_id: 0, status: 'acknowledged' });
    const before = await client.query('notes', { query: [0, 0], with_payload: true, with_vector: true });
    await client.upsert('notes', { wait: true, batch });
    const after = await client.query('notes', { query: [0, 0], with_payload: true, with_vector: true });
    expect(before.points.map((point) => point.version)).toEqual([0, 0]);
    expect(after.points).toEqual(before.points.map((point) => ({ ...point, version: 1 })));
  });

  test('of one request are written all or not at all', async () => {
    const points = [
      { id: 1, vector: [1, 1] },
      { id: 2, vector: [1, 1, 1] },
    ];
    await expect(client.upsert('notes', { wait: true, points })).rejects.toMatchObject({
      status: 400,
      data: { status: { error: 'Wrong input: Vector dimension error: expected dim: 2, got 3' } },
    });
    expect(await client.count('notes')).toEqual({ count: 0 });
  });

  test('have payloads that are set, overwritten, deleted and cleared', async () => {
    const vector = [1, 1];
    await client.upsert('notes', {
      wait: true,
      points: [1, 2, 3].map((id) => ({ id, vector, payload: { id, gone: true } })),
    });
    await client.setPayload('notes', { wait: true, payload: { gone: null, a: 1 }, points: [1] });
    await client.setPayload('notes', {
      wait: true,
      payload: { b: 2 },
      key: 'deep.er',
      filter: { must: [{ key: 'id', match: { value: 1 } }] },
    });
    await client.overwritePayload('notes', { wait: true, payload: { only: 'this' }, points: [2] });
    await client.deletePayload('notes', { wait: true, keys: ['gone'], points: [3] });
    expect(await payloads()).toEqual([
      { id: 1, payload: { id: 1, a: 1, deep: { er: { b: 2 } } } },
      { id: 2, payload: { only: 'this' } },
      { id: 3, payload: { id: 3 } },
    ]);
    await client.clearPayload('notes', { wait: true, points: [1] });
    expect((await payloads())[0]).toEqual({ id: 1, payload: {} });
    await expect(client.setPayload('notes', { wait: true, payload: { x: 1 }, points: [3, 99] })).rejects.toMatchObject({
      status: 404,
      data: { status: { error: 'Not found: No point with id 99 found' } },
    });
    expect((await payloads())[2]).toEqual({ id: 3, payload: { id: 3 } });
  });

  test('are deleted by ids and by filter, and scrolled once each in pages', async () => {
    const points = Array.from({ length: 25 }, (_, id) => ({ id, vector: [id, 0], payload: { even: id % 2 === 0 } }));
    await client.upsert('notes', { wait: true, points: [...points, { id: UUID, vector: [0, 0] }] });
    const seen: unknown[] = [];
    let offset: number | string | undefined;
    do {
      const page = await client.scroll('notes', { limit: 7, offset, with_payload: false });
      seen.push(...page.points.map((point) => point.id));
      offset = (page.next_page_offset ?? undefined) as typeof offset;
    } while (offset !== undefined);
    expect(seen).toEqual([...points.map((point) => point.id), UUID]);
    await client.delete('notes', { wait: true, filter: { must: [{ key: 'even', match: { value: true } }] } });
    await client.delete('notes', { wait: true, points: [1, 3, 4711] });
    expect(await client.count('notes', { exact: true })).toEqual({ count: 11 });
    expect((await client.query('notes', { query: [0, 0], limit: 3 })).points.map((point) => point.id)).toEqual([
      UUID,
      5,
      7,
    ]);
  });
});

describe('the data', () => {
  test('are there again after closing, and closing twice is closing once', async () => {
    await client.createCollection('c', { vectors: { size: 2, distance: 'Dot' } });
    await client.upsert('c', { wait: true, points: [{ id: 1, vector: [0.5, 2], payload: { a: 'ä' } }] });
    await Promise.all([store.close(), store.close()]);
    store = await startVectorStore({ dataDir, log });
    const points = await clientOf(store.url).retrieve('c', { ids: [1], with_vector: true });
    expect(points).toEqual([{ id: 1, payload: { a: 'ä' }, vector: [0.5, 2] }]);
  });

  test('are all there after the process was killed between acknowledged writes', async () => {
    const folder = join(dataDir, 'child');
    const { child, message } = await startChild({ dataDir: folder });
    const other = clientOf(String(message.url));
    await other.createCollection('c', { vectors: { size: 1, distance: 'Dot' } });
    for (let id = 0; id < 20; id++) await other.upsert('c', { wait: true, points: [{ id, vector: [id] }] });
    child.kill('SIGKILL');
    await once(child, 'exit');
    const again = await startChild({ dataDir: folder });
    expect(await clientOf(String(again.message.url)).count('c')).toEqual({ count: 20 });
  });

  test('belong to one process: a second one says so and exits', async () => {
    const { child, message } = await startChild({ dataDir });
    expect(message.error).toMatch(/folder .* is in use by another process/);
    if (child.exitCode === null) await once(child, 'exit');
    expect(child.exitCode).toBe(1);
    await expect(startVectorStore({ dataDir, log })).rejects.toThrow('in use by another process');
  });

  test('are closed when the parent disconnects or ends the process, but not by Ctrl-C', async () => {
    for (const end of [(child: ChildProcess) => child.disconnect(), (child: ChildProcess) => child.kill('SIGTERM')]) {
      const { child, message } = await startChild({ dataDir: join(dataDir, 'child') });
      child.kill('SIGINT');
      expect((await fetch(`${message.url}/readyz`)).status).toBe(200);
      end(child);
      expect(await once(child, 'exit')).toEqual([0, null]);
    }
  });
});
