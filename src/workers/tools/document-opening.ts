import type { VectorClient } from '../../clients/qdrant.ts';
import type { Db } from '../../db/connect.ts';
import { type NewDocument, openDocument, type Standing } from '../../db/document-work.ts';
import { clearDocuments } from '../../documents/clear.ts';
import { TaskError } from '../../errors.ts';
import { noSuchCollection } from '../../vectors/collection.ts';

interface Stores {
  db: Db;
  store: VectorClient;
  /** How many documents a user may have; 0 is no limit. */
  max: number;
}

/**
 * Makes a task's document of a content, or finds the one that is there; what is left of one that was deleted is cleared away first.
 * @throws TaskError `document_busy`, `limit_reached`, or `collection_not_found`
 */
export async function openFor(
  { id: taskId }: { id: string },
  { max, ...stores }: Stores,
  signal: AbortSignal,
  { name, ...given }: NewDocument & { name: string },
): Promise<Standing> {
  for (let turn = 0; ; turn++) {
    const standing = await openDocument(stores.db, given, max);
    if (!standing) throw noSuchCollection(name);
    if (standing === 'full') throw full(max);
    if (standing.is === 'busy' || (standing.is === 'old' && turn > 0)) throw busy();
    if (standing.is !== 'old') return standing;
    await clearDocuments(stores, { ids: [standing.document.id], taskId, quietMs: 0 }, signal);
  }
}

/** That a content is another task's for now. */
export function busy(): TaskError {
  const message = 'Another task is at work on the same content in this collection.';
  return new TaskError('document_busy', message, { later: true });
}

function full(max: number): TaskError {
  return new TaskError(
    'limit_reached',
    `You have ${max.toLocaleString('en-US')} documents, which is the most (MAX_DOCUMENTS_PER_USER). Delete one first.`,
  );
}
