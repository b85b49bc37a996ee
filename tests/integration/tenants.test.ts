import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createVectorClient } from '../../src/clients/qdrant.ts';
import { type CollectionRow, insertCollection } from '../../src/db/collections.ts';
import { newId } from '../../src/db/ids.ts';
import { TaskError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import type { Hit } from '../../src/tasks/tools.ts';
import { pointId } from '../../src/vectors/collection.ts';
import { countPoints, deletePoints, type NewPoint, putPoints } from '../../src/vectors/points.ts';
import { createPointRoom } from '../../src/vectors/room.ts';
import { searchCollection } from '../../src/vectors/search.ts';
import { emptyCollection } from '../../src/vectors/sweeper.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { storeUser } from '../support/tasks.ts';

const { signal } = new AbortController();
const store = createVectorClient({ url: inject('qdrantUrl'), log: createLog('silent') });
const embed = () => Promise.reject(new Error('nobody asks for that here'));
const NAMES = ['tea', 'bed', 'mine', '7'];
let database: TestDatabase;
/** Of two users, and the second of the first one; all in one collection of the store. */
let collections: CollectionRow[];

beforeAll(async () => {
  database = await createTestDatabase();
  const { db } = database;
  const [alice, bob] = [await storeUser(db), await storeUser(db)];
  const kind = { embedding_model: null, dimensions: 2 };
  collections = [];
  for (const [user_id, name] of [
    [alice, 'notes'],
    [bob, 'notes'],
    [alice, 'second'],
  ] as const) {
    const row = { ...kind, id: newId(), user_id, name };
    const stored = await db.transaction().execute((trx) => insertCollection(trx, row, 0));
    if (stored.is === 'stored') collections.push(stored.row);
  }
});
afterAll(async () => {
  for (const one of collections) await emptyCollection(store, one, signal);
  await database.close();
});

/** Points whose payload says that they are of everybody; some are chunks of documents. */
const pointsOf = (index: number): NewPoint[] =>
  [...NAMES, 7].map((id, n) => ({
    ...{ id, vector: [1, n], text: `of ${index}`, document: n % 2 === 1 ? `d${index}` : undefined },
    payload: {
      n,
      owner: index,
      tenant: collections[(index + 1) % 3]?.user_id,
      collection: collections[(index + 1) % 3]?.id,
      list: [{ tenant: collections[0]?.user_id }],
    },
  }));
const fill = async () => {
  const room = createPointRoom({ db: database.db, max: 0 });
  for (const [index, one] of collections.entries())
    await putPoints({ db: database.db, store, room }, one, pointsOf(index), signal);
};
const counts = () => Promise.all(collections.map((one) => countPoints(store, one, signal)));

/** Filters in Qdrant's words and beside them, by somebody who knows every id there is. */
function filters() {
  const ids = collections.flatMap((one) => [one.id, one.user_id, ...NAMES.map((id) => pointId(one.id, id))]);
  const value = fc.constantFrom<unknown>(
    ...ids,
    ...collections.map(({ user_id }) => [user_id]),
    1,
    true,
    null,
    'of 0',
    'd0',
  );
  const key = fc.constantFrom(
    ...['tenant', 'collection', 'document', 'id', 'text', 'data', 'data.tenant', 'n', 'owner', 'list[].tenant', ''],
    ...[
      '"tenant"',
      '..tenant',
      ']tenant',
      '[0].tenant',
      'x"].tenant',
      '$.tenant',
      '/tenant',
      'list[]."tenant"',
      '\u0000',
    ],
  );
  const match = fc.oneof(
    fc.record({ value }),
    fc.record({ any: fc.array(value, { maxLength: 3 }) }),
    fc.record({ except: fc.array(value, { maxLength: 3 }) }),
    fc.record({ text: fc.constantFrom('of', '') }),
  );
  return fc.letrec<{ filter: object; condition: object }>((tie) => ({
    condition: fc.oneof(
      { maxDepth: 3, depthIdentifier: 'filter' },
      fc.record({ key, match }),
      fc.record({ key, range: fc.record({ gte: fc.integer({ min: -1, max: 2 }) }) }),
      fc.record({ key, is_empty: fc.boolean() }),
      fc.record({ is_null: fc.record({ key }) }),
      fc.record({ has_id: fc.array(fc.constantFrom<unknown>(...NAMES, 7, ...ids, null, {}), { maxLength: 8 }) }),
      fc.record({ nested: fc.record({ key, filter: tie('filter') }) }),
      fc.record({ filter: tie('filter') }),
      tie('filter'),
    ),
    filter: fc.dictionary(
      fc.constantFrom('must', 'should', 'must_not', 'must', 'should', 'must_not', 'min_should', 'tenant'),
      fc.oneof(fc.array(tie('condition'), { maxLength: 3 }), tie('condition')),
      { maxKeys: 3, depthIdentifier: 'filter' },
    ),
  })).filter;
}

/** What a user's own mistake may come to; anything else is a fault of ours. */
async function orRefused<T>(work: Promise<T>): Promise<T | undefined> {
  return work.catch((error) => {
    if (error instanceof TaskError && ['invalid_input', 'upstream_rejected'].includes(error.code)) return undefined;
    throw error;
  });
}

describe('S44: whatever filter a user thinks of', () => {
  it('a search finds points of that user and collection alone', async () => {
    await fill();
    let answered = 0;
    const found = new Set<string>();
    await fc.assert(
      fc.asyncProperty(filters(), fc.nat({ max: 2 }), async (filter, index) => {
        const { user_id: userId, name: collection } = collections[index] as CollectionRow;
        const request = { collection, vector: [1, 1], limit: 200, filter };
        const result = await orRefused(
          searchCollection({ db: database.db, store }, { userId, embed, signal }, request),
        );
        if (!result) return;
        answered++;
        for (const hit of result.hits as Hit[]) {
          expect([hit.text, hit.payload.owner]).toEqual([`of ${index}`, index]);
          found.add(`${index} ${typeof hit.id} ${hit.id}`);
        }
      }),
      { numRuns: 400 },
    );
    // Not all were refused, and not all found nothing.
    expect(answered).toBeGreaterThan(50);
    expect(found.size).toBe(3 * (NAMES.length + 1));
  });

  it('a deletion takes points of that user and collection alone, and a repeated upsert brings back the same ones', async () => {
    await fill();
    const full = await counts();
    let deleted = 0;
    await fc.assert(
      fc.asyncProperty(filters(), fc.nat({ max: 2 }), async (filter, index) => {
        const own = collections[index] as CollectionRow;
        const gone = (await orRefused(deletePoints({ store }, own, { filter }, signal))) ?? 0;
        deleted += gone;
        expect(await counts()).toEqual(full.map((count, n) => (n === index ? count - gone : count)));
        if (gone > 0) await fill();
        expect(await counts()).toEqual(full);
      }),
      { numRuns: 80 },
    );
    expect(deleted).toBeGreaterThan(0);
  });

  it('ids of points of others, and those of the store itself, name nothing', async () => {
    await fill();
    const full = await counts();
    const [alice, bob] = collections as [CollectionRow, CollectionRow];
    const ids = NAMES.map((id) => pointId(alice.id, id));
    expect(await deletePoints({ store }, bob, { ids }, signal)).toBe(0);
    expect(await counts()).toEqual(full);
    expect(await deletePoints({ store }, bob, { ids: ['tea', 7] }, signal)).toBe(2);
    // What is left are the chunks of documents.
    expect(await deletePoints({ store }, bob, 'all', signal)).toBe(1);
    expect(await counts()).toEqual([full[0], 2, full[2]]);
  });
});
