import { v5 as uuidv5 } from 'uuid';
import { COLLECTION_FIELD, storeName, TENANT_FIELD, type VectorClient } from '../../clients/qdrant.ts';
import { ensureCollection, findCollection } from '../../db/collections.ts';
import type { Db } from '../../db/connect.ts';
import { newId } from '../../db/ids.ts';
import { TaskError } from '../../errors.ts';
import type { Point, SearchRequest, Tools } from '../../tasks/tools.ts';
import type { Attempt } from '../attempt.ts';
import { scopeFilter } from '../filter.ts';

const DEFAULT_HITS = 10;

type Embed = Tools['models']['embed'];

/** The collections of the task's user, as its attempt may use them. */
export function vectorTools(
  db: Db,
  vectors: VectorClient | undefined,
  attempt: Attempt,
  embed: Embed,
): Tools['vectors'] {
  return {
    upsert: (request) => upsert(requireStore(vectors), attempt, request, embed),
    search: (request) => search(requireStore(vectors), attempt, request, embed),
  };

  async function upsert(
    store: VectorClient,
    attempt: Attempt,
    request: { collection: string; points: Point[] },
    embed: Embed,
  ) {
    const userId = attempt.task.user_id;
    const known = await findCollection(db, userId, request.collection);
    const texts = request.points.flatMap(({ text }) => (text === undefined ? [] : [text]));
    const embedded =
      texts.length > 0 ? await embed({ input: texts, model: known?.embedding_model ?? undefined }) : undefined;
    const dimensions = embedded?.dimensions ?? request.points[0]?.vector?.length ?? 0;
    const checkVectors = (wanted: number) => {
      const wrong = request.points.find(({ vector }) => vector && vector.length !== wanted);
      if (wrong?.vector) throw wrongDimensions(request.collection, wanted, wrong.vector.length);
    };
    // Before anything is stored: a first upsert that fails must not decide what the collection takes.
    checkVectors(known?.dimensions ?? dimensions);
    const collection =
      known ??
      (await ensureCollection(db, {
        id: newId(),
        user_id: userId,
        name: request.collection,
        embedding_model: embedded?.model ?? null,
        dimensions,
      }));
    if (embedded && collection.embedding_model === null)
      throw new TaskError(
        'invalid_input',
        `The collection ${collection.name} holds vectors of your own making; give points as vectors.`,
      );
    if (embedded && collection.embedding_model !== embedded.model)
      throw modelGone(collection.name, collection.embedding_model ?? '');

    const physical = storeName(collection.embedding_model, collection.dimensions);
    let next = 0;
    const points = request.points.map((point, index) => {
      const vector = point.vector ?? (embedded?.embeddings[next++] as number[]);
      if (vector.length !== collection.dimensions)
        throw wrongDimensions(collection.name, collection.dimensions, vector.length);
      const id = point.id ?? uuidv5(`${index}`, attempt.task.id);
      return {
        given: id,
        stored: {
          // The same id in the same collection is the same point, however often the attempt is repeated.
          id: pointId(collection.id, id),
          vector,
          payload: {
            [TENANT_FIELD]: userId,
            [COLLECTION_FIELD]: collection.id,
            id,
            text: point.text ?? null,
            data: point.payload ?? {},
          },
        },
      };
    });
    await store.ensureCollection(physical, collection.dimensions);
    await store.upsert(
      physical,
      points.map(({ stored }) => stored),
      attempt.signal,
    );
    return { collection: collection.name, upserted: points.length, ids: points.map(({ given }) => given) };
  }

  async function search(store: VectorClient, attempt: Attempt, request: SearchRequest, embed: Embed) {
    const userId = attempt.task.user_id;
    const collection = await findCollection(db, userId, request.collection);
    if (!collection)
      throw new TaskError(
        'collection_not_found',
        `There is no collection ${request.collection}. It is made by the first vector.upsert into it.`,
      );
    if (request.query !== undefined && collection.embedding_model === null) {
      throw new TaskError(
        'invalid_input',
        `The collection ${collection.name} holds vectors of your own making; search it by vector.`,
      );
    }
    let vector = request.vector;
    if (request.query !== undefined) {
      const embedded = await embed({ input: [request.query], model: collection.embedding_model ?? undefined });
      if (embedded.model !== collection.embedding_model)
        throw modelGone(collection.name, collection.embedding_model ?? '');
      vector = embedded.embeddings[0];
    }
    if (vector?.length !== collection.dimensions)
      throw wrongDimensions(collection.name, collection.dimensions, vector?.length ?? 0);
    const found = await store.query(
      storeName(collection.embedding_model, collection.dimensions),
      {
        vector,
        filter: {
          must: [
            { key: TENANT_FIELD, match: { value: userId } },
            { key: COLLECTION_FIELD, match: { value: collection.id } },
            ...(request.filter === undefined ? [] : [scopeFilter(request.filter, (id) => pointId(collection.id, id))]),
          ],
        },
        limit: request.limit ?? DEFAULT_HITS,
        scoreThreshold: request.score_threshold,
      },
      attempt.signal,
    );
    return {
      hits: found.map(({ score, payload }) => ({
        id: payload.id as string | number,
        score,
        payload: (payload.data ?? {}) as Record<string, unknown>,
        ...(typeof payload.text === 'string' ? { text: payload.text } : {}),
      })),
    };
  }
}

function requireStore(vectors: VectorClient | undefined): VectorClient {
  if (!vectors)
    throw new TaskError(
      'upstream_unavailable',
      'This worker has no vector store: ENABLE_VECTOR_SEARCH is false here.',
      { retryable: true },
    );
  return vectors;
}

function pointId(collectionId: string, id: string | number): string {
  return uuidv5(`${typeof id}:${id}`, collectionId);
}

function wrongDimensions(name: string, wanted: number, given: number): TaskError {
  return new TaskError(
    'dimension_mismatch',
    `The collection ${name} takes vectors of ${wanted} dimensions, not ${given}.`,
  );
}

function modelGone(name: string, model: string): TaskError {
  return new TaskError(
    'model_unavailable',
    `The collection ${name} was embedded with ${model}, which no host has now.`,
    { retryable: true },
  );
}
