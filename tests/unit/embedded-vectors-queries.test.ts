import type { QdrantClient } from '@qdrant/js-client-rest';
import { beforeEach, describe, expect, test } from 'vitest';
import type { VectorStore } from '../../src/embedded/vectors/server.ts';
import { startTestVectorStore } from '../support/vector-store.ts';

let store: VectorStore;
let client: QdrantClient;

beforeEach(async () => {
  const started = await startTestVectorStore();
  ({ store, client } = started);
  // A test may have put another one on the same folder.
  return () => store.close().then(started.close);
});

/** A small generator of numbers that are the same in every run. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
}

describe('queries', () => {
  test.each([
    ['Cosine', [1, 2, 3], [1, 1 / Math.sqrt(2), 0], 0.5],
    ['Dot', [2, 1, 3], [4, 1, 0], 0.5],
    ['Euclid', [1, 3, 2], [0, 1, 3], 2],
    ['Manhattan', [1, 3, 2], [0, 1, 3], 2],
  ] as const)(
    'score as %s does, best first, and stop at the threshold',
    async (distance, ids, scores, score_threshold) => {
      await client.createCollection('q', { vectors: { size: 2, distance } });
      const vectors = [
        [1, 0],
        [4, distance === 'Cosine' ? 4 : 0],
        [0, 0],
      ];
      await client.upsert('q', { wait: true, batch: { ids: [1, 2, 3], vectors } });
      const { points } = await client.query('q', { query: [1, 0] });
      expect(points.map((point) => point.id)).toEqual(ids);
      for (const [at, point] of points.entries()) expect(point.score).toBeCloseTo(scores[at] ?? Number.NaN, 5);
      const passed = await client.query('q', { query: { nearest: [1, 0] }, score_threshold });
      expect(passed.points.map((point) => point.id)).toEqual(ids.slice(0, 2));
    },
  );

  test('find by a stored point without itself, page, select payloads, and come in batches', async () => {
    await client.createCollection('q', { vectors: { size: 1, distance: 'Euclid' } });
    const points = [1, 2, 3, 4].map((id) => ({
      id,
      vector: [id],
      payload: { a: { b: id, c: 1 }, d: [{ e: 1, f: 2 }] },
    }));
    await client.upsert('q', { wait: true, points });
    const query = {
      query: 1,
      limit: 2,
      offset: 1,
      with_payload: { exclude: ['a.c', 'd[].f'] },
      params: { exact: true },
    };
    const expected = {
      points: [
        { id: 3, version: 0, score: 2, payload: { a: { b: 3 }, d: [{ e: 1 }] } },
        { id: 4, version: 0, score: 3, payload: { a: { b: 4 }, d: [{ e: 1 }] } },
      ],
    };
    expect(await client.query('q', query)).toEqual(expected);
    const searches = [
      query,
      { query: [9], limit: 1, with_payload: { include: ['d[].f'] }, with_vector: true },
      { limit: 1 },
    ];
    expect(await client.queryBatch('q', { searches })).toEqual([
      expected,
      { points: [{ id: 4, version: 0, score: 5, payload: { d: [{ f: 2 }] }, vector: [4] }] },
      { points: [{ id: 1, version: 0, score: 1 }] },
    ]);
  });

  test('never show one tenant the points of another', async () => {
    await client.createCollection('q', { vectors: { size: 1, distance: 'Dot' } });
    await client.createPayloadIndex('q', { field_name: 'user', field_schema: { type: 'keyword', is_tenant: true } });
    const points = Array.from({ length: 30 }, (_, id) => ({ id, vector: [id], payload: { user: `u${id % 3}` } }));
    await client.upsert('q', { wait: true, points });
    const filter = { must: [{ key: 'user', match: { value: 'u1' } }] };
    const found = await client.query('q', { query: [1], filter, limit: 30, with_payload: true });
    expect(found.points.map((point) => point.id)).toEqual([28, 25, 22, 19, 16, 13, 10, 7, 4, 1]);
    expect(await client.count('q', { filter })).toEqual({ count: 10 });
  });

  test('over 10,000 vectors of 384 dimensions answer what comparing with each of them answers', {
    timeout: 60_000,
  }, async () => {
    const [size, total] = [384, 10_000];
    const next = numbers(7);
    const vectors = Array.from({ length: total }, () => Float32Array.from({ length: size }, next));
    await client.createCollection('q', { vectors: { size, distance: 'Cosine' } });
    for (let from = 0; from < total; from += 1000) {
      const ids = Array.from({ length: 1000 }, (_, at) => from + at);
      await client.upsert('q', { wait: true, batch: { ids, vectors: ids.map((id) => Array.from(vectors[id] ?? [])) } });
    }
    const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0);
    for (const query of Array.from({ length: 5 }, () => Float32Array.from({ length: size }, next))) {
      const scored = vectors.map((vector, id) => ({
        id,
        score: dot(vector, query) / Math.sqrt(dot(vector, vector) * dot(query, query)),
      }));
      const best = scored.sort((a, b) => b.score - a.score).slice(0, 10);
      const { points } = await client.query('q', { query: Array.from(query), limit: 10 });
      expect(points.map((point) => point.id)).toEqual(best.map((point) => point.id));
      for (const [at, point] of points.entries()) expect(point.score).toBeCloseTo(best[at]?.score ?? Number.NaN, 5);
    }
  });
});
