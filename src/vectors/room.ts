import { LRUCache } from 'lru-cache';
import { TENANT_FIELD, type VectorClient } from '../clients/qdrant.ts';
import { type CollectionRow, listCollections } from '../db/collections.ts';
import type { Db } from '../db/connect.ts';
import { TaskError } from '../errors.ts';
import { scopeOf, storeName } from './collection.ts';

/** Keeps users to as many points as they may have. */
export interface PointRoom {
  /**
   * Takes room for points that are about to be written; those that are there already need none.
   * @param ids as the store has them
   * @throws TaskError `limit_reached`
   */
  take(store: VectorClient, collection: CollectionRow, ids: string[], signal: AbortSignal): Promise<void>;
  /** @throws TaskError `limit_reached` where so many more points would be too many */
  check(store: VectorClient, userId: string, points: number, signal: AbortSignal): Promise<void>;
}

/** What was counted is believed for so long, with what this process wrote since: other processes write too. */
const FRESH_MS = 60_000;
const USERS = 10_000;

/**
 * Makes it. The store alone knows how many points there are, and counting all of a user costs it something, so it is asked once a
 * minute, and whenever it is close.
 * @param max 0 is no limit
 */
export function createPointRoom({ db, max }: { db: Db; max: number }): PointRoom {
  const counts = new LRUCache<string, { points: number; at: number }>({ max: USERS });

  async function count(store: VectorClient, userId: string, signal: AbortSignal): Promise<number> {
    const kinds = (await listCollections(db, userId)).filter(({ dimensions }) => dimensions !== null).map(storeName);
    const filter = { must: [{ key: TENANT_FIELD, match: { value: userId } }] };
    const all = await Promise.all([...new Set(kinds)].map((kept) => store.count(kept, filter, signal, userId)));
    return all.reduce((sum, one) => sum + one, 0);
  }

  return {
    async take(store, collection, ids, signal) {
      if (max === 0) return;
      const known = counts.get(collection.user_id);
      if (known && performance.now() - known.at < FRESH_MS && known.points + ids.length <= max) {
        known.points += ids.length;
        return;
      }
      const own = { must: [...scopeOf(collection), { has_id: ids }] };
      const [all, there] = await Promise.all([
        count(store, collection.user_id, signal),
        store.count(storeName(collection), own, signal, collection.user_id),
      ]);
      const points = all - there + ids.length;
      if (points > max) throw full(max, all);
      counts.set(collection.user_id, { points, at: performance.now() });
    },
    async check(store, userId, points, signal) {
      if (max === 0) return;
      const all = await count(store, userId, signal);
      if (all + points > max) throw full(max, all);
    },
  };
}

function full(max: number, has: number): TaskError {
  const [most, now] = [max, has].map((points) => points.toLocaleString('en-US'));
  return new TaskError(
    'limit_reached',
    `You have ${now} points in the vector store, and ${most} are the most (MAX_POINTS_PER_USER). Delete documents, points or collections first.`,
  );
}
