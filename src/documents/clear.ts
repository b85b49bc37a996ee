import { DOCUMENT_FIELD, type VectorClient } from '../clients/qdrant.ts';
import type { Db } from '../db/connect.ts';
import { forgetDocument, listOld, type OldDocument, postponeOld } from '../db/documents.ts';
import { repeat } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import { scopeOf, storeName } from '../vectors/collection.ts';

interface Stores {
  db: Db;
  store: VectorClient;
}

const BATCH = 50;
const EVERY_MS = 5_000;
/** What an attempt sent before it was stopped may still be on its way to the store. */
const SETTLE_MS = 10_000;
const STORE_MS = 60_000;

/** Takes documents that were hidden out of the vector store, and then their rows; whoever is killed meanwhile, it is done again. */
export async function clearDocuments(
  { db, store }: Stores,
  which: { ids?: string[]; taskId?: string; quietMs: number },
  signal: AbortSignal,
): Promise<number> {
  const old = await listOld(db, { ...which, limit: BATCH });
  const failures: unknown[] = [];
  for (const document of old) {
    try {
      await removePoints(store, document, signal);
      await forgetDocument(db, document.id);
    } catch (error) {
      failures.push(error);
      // The next time it stands behind the others.
      await postponeOld(db, document.id);
      if (signal.aborted) break;
    }
  }
  if (failures.length > 0) throw failures[0];
  return old.length;
}

async function removePoints(store: VectorClient, document: OldDocument, signal: AbortSignal): Promise<void> {
  const { dimensions } = document;
  if (dimensions === null) return;
  const filter = {
    must: [...scopeOf({ id: document.collection_id, user_id: document.user_id }), pointsOf(document.id)],
  };
  await store.remove(storeName(document), filter, signal);
}

/** The condition that chooses the points of a document. */
export function pointsOf(documentId: string): object {
  return { key: DOCUMENT_FIELD, match: { value: documentId } };
}

/** Clears away from time to time what nobody could at once. Any number of processes may do it. */
export function startClearing({ db, store, log, everyMs = EVERY_MS }: Stores & { log: Logger; everyMs?: number }): {
  close(): Promise<void>;
} {
  // Whoever shuts down does not wait for a store that says nothing.
  const closing = new AbortController();
  const stop = repeat(
    everyMs,
    async () => {
      const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(STORE_MS)]);
      await clearDocuments({ db, store }, { quietMs: SETTLE_MS }, signal);
    },
    (error) => log.debug({ err: error }, 'deleted documents could not be cleared away; tried again later'),
  );
  return {
    close: () => {
      closing.abort();
      return stop();
    },
  };
}
