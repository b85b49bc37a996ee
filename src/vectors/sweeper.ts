import type { VectorClient } from '../clients/qdrant.ts';
import { type CollectionRow, dropDocuments, forgetCollection, sweepLater, takeRemoved } from '../db/collections.ts';
import type { Db } from '../db/connect.ts';
import { repeat } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import { scopeOf, storeName } from './collection.ts';

/** Takes out of the store what was removed, until nothing of it is left. Any number of processes may do it at once. */
export interface Sweeper {
  /** Sweeps those whose time has come; answers how many are gone for good. */
  runOnce(): Promise<number>;
  close(): Promise<void>;
}

interface Options {
  db: Db;
  store: VectorClient;
  log: Logger;
  everyMs?: number;
  /** How long after the last attempt that may have known a collection it is swept once more: what it sent may still be on its way. */
  settleMs?: number;
}

const BATCH = 10;
const DOCUMENTS = 100;
const EVERY_MS = 5_000;
const SETTLE_MS = 10_000;
const STORE_MS = 60_000;
/** Others wait for it, and so does a connection of the database. */
const DROP_MS = 5_000;

/** Makes it. A collection that is removed goes whoever is killed meanwhile, because its row is the last of it that goes. */
export function createSweeper({ db, store, log, everyMs = EVERY_MS, settleMs = SETTLE_MS }: Options): Sweeper {
  // Whoever shuts down does not wait for a store that says nothing.
  const closing = new AbortController();
  const within = (ms: number) => AbortSignal.any([closing.signal, AbortSignal.timeout(ms)]);

  async function runOnce(): Promise<number> {
    let gone = 0;
    for (const collection of await takeRemoved(db, BATCH)) {
      await emptyCollection(store, collection, within(STORE_MS));
      if (collection.rests) {
        // A few at a time: with all their chunks they may take longer than a statement may.
        while ((await dropDocuments(db, collection.id, DOCUMENTS)) === DOCUMENTS);
        await forgetCollection(db, collection, () => dropStore(store, collection, within(DROP_MS)));
        gone++;
      } else await sweepLater(db, collection.id, settleMs);
    }
    return gone;
  }

  const stop = repeat(
    everyMs,
    async () => void (await runOnce()),
    (error) =>
      log.debug({ err: error }, 'what was removed could not be taken out of the vector store; tried again later'),
  );
  return {
    runOnce,
    close: () => {
      closing.abort();
      return stop();
    },
  };
}

/** Deletes every point of a collection. */
export async function emptyCollection(
  store: VectorClient,
  collection: CollectionRow,
  signal: AbortSignal,
): Promise<void> {
  if (collection.dimensions === null) return;
  await store.remove(storeName(collection), { must: scopeOf(collection) }, signal);
}

/** Drops the place of a kind of collections that nobody has any more, unless somebody else has points in it. */
async function dropStore(store: VectorClient, collection: CollectionRow, signal: AbortSignal): Promise<void> {
  const kept = storeName(collection);
  if ((await store.count(kept, {}, signal)) === 0) await store.drop(kept, signal);
}
