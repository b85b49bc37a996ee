import { TENANT_FIELD, type VectorClient } from '../clients/qdrant.ts';
import { insertAudit } from '../db/audit.ts';
import { listCollections } from '../db/collections.ts';
import type { Db } from '../db/connect.ts';
import { deleteFilesOfUser } from '../db/files.ts';
import { cancelTasksOfUser } from '../db/tasks/steer.ts';
import { countUnfinished, deleteTasksOfUser, deleteUser } from '../db/user-admin.ts';
import type { UserRow } from '../db/users.ts';
import { ProblemError } from '../errors.ts';
import { type AfterMove, tellMoved } from '../queues/after.ts';
import { storeName } from '../vectors/collection.ts';
import type { Trail } from './audit.ts';

interface Options extends AfterMove {
  db: Db;
  vectors: VectorClient | undefined;
}

const BATCH = 500;
/** How long the vector store may take to delete what one collection of its holds of a user. */
const STORE_MS = 60_000;

/**
 * Takes an account away that is switched off already: cancels its tasks, and once none is at work any more deletes its
 * vectors, its tasks and the rest. Answers how many tasks are still at work; the account is gone when there are none.
 * @throws ProblemError where the vector store does not answer
 */
export async function removeUser({ db, vectors, ...after }: Options, user: UserRow, trail: Trail): Promise<number> {
  for (let more = true; more; ) {
    const moved = await cancelTasksOfUser(db, user.id, 'account deleted', BATCH);
    await tellMoved(moved, after);
    more = moved.length >= BATCH;
  }
  const unfinished = await countUnfinished(db, user.id);
  if (unfinished > 0) return unfinished;
  if (vectors) await forgetVectors(db, vectors, user.id);
  while ((await deleteTasksOfUser(db, user.id, BATCH)) === BATCH);
  await deleteFilesOfUser(db, user.id);
  const gone = await db.transaction().execute(async (trx) => {
    const object = { type: 'user', id: user.id };
    const { username, role } = user;
    const deleted = await deleteUser(trx, user.id);
    if (deleted) await insertAudit(trx, [trail.entry({ action: 'user.delete', object, details: { username, role } })]);
    return deleted;
  });
  return gone ? 0 : Math.max(1, await countUnfinished(db, user.id));
}

async function forgetVectors(db: Db, vectors: VectorClient, userId: string): Promise<void> {
  const collections = await listCollections(db, userId);
  const names = new Set(collections.filter(({ dimensions }) => dimensions !== null).map(storeName));
  const theirs = { must: [{ key: TENANT_FIELD, match: { value: userId } }] };
  try {
    for (const name of names) await vectors.remove(name, theirs, AbortSignal.timeout(STORE_MS));
  } catch (error) {
    throw new ProblemError(
      'temporary-reduced-capacity',
      'The account is switched off, but the vector store does not answer, so what it holds cannot be deleted yet. Send the request again.',
      { headers: { 'Retry-After': '5' }, cause: error },
    );
  }
}
