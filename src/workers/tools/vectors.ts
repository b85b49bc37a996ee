import { v5 as uuidv5 } from 'uuid';
import type { VectorClient } from '../../clients/qdrant.ts';
import { type CollectionRow, settleDimensions } from '../../db/collections.ts';
import type { Db } from '../../db/connect.ts';
import type { EmbedAnswer, Point, Tools } from '../../tasks/tools.ts';
import { modelGone, noSuchCollection, takesNoTexts, wrongDimensions } from '../../vectors/collection.ts';
import { holdToModel } from '../../vectors/model.ts';
import { deletePoints, putPoints, refuseChunks, requireStore } from '../../vectors/points.ts';
import type { PointRoom } from '../../vectors/room.ts';
import { searchCollection } from '../../vectors/search.ts';
import type { Attempt } from '../attempt.ts';
import { findFor, makeFor } from './task-collections.ts';

interface Options {
  db: Db;
  vectors: VectorClient | undefined;
  embed: Tools['models']['embed'];
  room: PointRoom;
  /** How many collections a user may have; 0 is no limit. */
  maxCollections: number;
}

/** The collections of the task's user, as its attempt may use them. */
export function vectorTools(attempt: Attempt, { db, vectors, embed, room, maxCollections }: Options): Tools['vectors'] {
  const { signal, task } = attempt;
  const userId = task.user_id;

  /** The collection that these vectors go into; made by the first of them, so that one which fails decides nothing. */
  async function collectionFor(
    name: string,
    known: CollectionRow | undefined,
    embedded: EmbedAnswer | undefined,
    dimensions: number,
  ): Promise<CollectionRow> {
    if (known && known.dimensions !== null) return known;
    if (known)
      return (await settleDimensions(db, known.id, dimensions)) ?? collectionFor(name, undefined, embedded, dimensions);
    return makeFor(db, task, { name, embedding_model: embedded?.model ?? null, dimensions }, maxCollections);
  }

  return {
    async upsert({ collection: name, points }) {
      const store = requireStore(vectors);
      const known = await findFor(db, task, name);
      const given = points.flatMap(({ id }) => id ?? []);
      if (known) await refuseChunks(store, known, given, signal);
      const texts = points.flatMap(({ text }) => (text === undefined ? [] : [text]));
      if (known?.embedding_model === null && texts.length > 0) throw takesNoTexts(name, 'give points as vectors');
      // One that is known waits for its own model, and one that is made takes the usual one.
      const asked = known ? { model: known.embedding_model ?? undefined, fallback: false } : {};
      const embedded = texts.length > 0 ? await embed({ input: texts, ...asked }) : undefined;
      const dimensions = known?.dimensions ?? embedded?.dimensions ?? points[0]?.vector?.length ?? 0;
      refuseOthers(name, points, dimensions);
      const collection = await collectionFor(name, known, embedded, dimensions);
      // Another attempt may have made it just now.
      if (embedded && collection.embedding_model === null) throw takesNoTexts(name, 'give points as vectors');
      if (embedded && embedded.model !== collection.embedding_model)
        throw modelGone(name, collection.embedding_model ?? '');
      if (embedded) await holdToModel(db, embed, collection, { digest: embedded.digest, writes: true });
      let next = 0;
      const made = points.map((point, index) => ({
        ...{ text: point.text, payload: point.payload },
        // The same ones in each attempt of the task.
        id: point.id ?? uuidv5(`${index}`, task.id),
        vector: point.vector ?? (embedded?.embeddings[next++] as number[]),
      }));
      await putPoints({ db, store, room }, collection, made, signal);
      return { collection: name, upserted: made.length, ids: made.map(({ id }) => id) };
    },

    search: (request) => searchCollection({ db, store: requireStore(vectors) }, { userId, embed, signal }, request),

    async delete({ collection: name, ...choice }) {
      const store = requireStore(vectors);
      const collection = await findFor(db, task, name);
      if (!collection) throw noSuchCollection(name);
      const chosen = choice.all ? 'all' : choice.ids ? { ids: choice.ids } : { filter: choice.filter };
      return { collection: name, deleted: await deletePoints({ store }, collection, chosen, signal) };
    },
  };
}

function refuseOthers(name: string, points: Point[], dimensions: number): void {
  const wrong = points.find(({ vector }) => vector && vector.length !== dimensions);
  if (wrong?.vector) throw wrongDimensions(name, dimensions, wrong.vector.length);
}
