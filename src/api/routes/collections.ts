import * as v from 'valibot';
import type { ModelClient } from '../../clients/ollama.ts';
import type { VectorClient } from '../../clients/qdrant.ts';
import { insertAudit } from '../../db/audit.ts';
import {
  type CollectionRow,
  findCollection,
  insertCollection,
  pageOfCollections,
  removeCollection,
} from '../../db/collections.ts';
import type { Db } from '../../db/connect.ts';
import { newId } from '../../db/ids.ts';
import { addTokens } from '../../db/limits.ts';
import { DISTANCES } from '../../db/schema.ts';
import { ProblemError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { collectionName, modelName, wholeNumber } from '../../tasks/schemas.ts';
import { fitsMode, hasOne, searchFields, searchOutput, WANTS_ONE, WRONG_FOR_MODE } from '../../tasks/vector-search.ts';
import { countPoints, requireStore } from '../../vectors/points.ts';
import { searchCollection } from '../../vectors/search.ts';
import { emptyCollection } from '../../vectors/sweeper.ts';
import { answers, answersNothing, pageOf } from '../answer.ts';
import { asking, kindOf, noSuchCollection } from '../collections.ts';
import type { Limits } from '../limits/index.ts';
import { defineRoute, offWhen, type Principal, type Route } from '../route.ts';
import { collectionExample, collection as shape } from '../shapes/collection.ts';
import { invalid, pageQuery } from '../validate.ts';

interface Options {
  db: Db;
  models: ModelClient;
  vectors: VectorClient | undefined;
  limits: Pick<Limits, 'admit'>;
  /** How many collections a user may have; 0 is no limit. */
  maxCollections: number;
  log: Logger;
}

/** How long a request waits for model and store. A model that has to be loaded first may take longer: it is then asked again. */
const SEARCH_MS = 10_000;
const PROBE_MS = 20_000;
const COUNT_MS = 2_000;
/** Collections of a list that are counted at a time. */
const COUNTS = 4;
const EMPTY_MS = 3_000;

export const VECTORS_OFF = 'Vector search is switched off here: ENABLE_VECTOR_SEARCH is false.';

const newBody = v.strictObject({
  name: collectionName,
  embedding_model: v.optional(
    v.pipe(
      v.nullable(modelName),
      v.description('The usual one where it is not given; null for vectors of your own making.'),
    ),
  ),
  dimensions: v.optional(
    v.pipe(
      wholeNumber(1, 65_536),
      v.description('Of vectors of your own making; the first ones decide where it is not given.'),
    ),
  ),
  distance: v.optional(v.picklist(DISTANCES, `must be one of ${DISTANCES.join(', ')}`), 'Cosine'),
});

/** The collections of the one who asks: what is alike, found at once. */
export function collectionRoutes({ db, models, vectors, limits, maxCollections, log }: Options): Route[] {
  async function read({ userId }: Principal, name = ''): Promise<CollectionRow> {
    const row = await findCollection(db, userId, name);
    if (!row) throw noSuchCollection();
    return row;
  }

  async function present(
    row: CollectionRow,
    signal = AbortSignal.timeout(COUNT_MS),
  ): Promise<v.InferOutput<typeof shape>> {
    const { id, name, embedding_model, model_digest, dimensions, distance, created_at } = row;
    const points = await countPoints(requireStore(vectors), row, signal).catch(() => null);
    return { id, name, embedding_model, model_digest, dimensions, distance, created_at, points };
  }

  /** A few at a time, and together no longer than one: counting is work for the store. */
  async function presentAll(rows: CollectionRow[]): Promise<Array<v.InferOutput<typeof shape>>> {
    const signal = AbortSignal.timeout(COUNT_MS);
    const shown: Array<v.InferOutput<typeof shape>> = [];
    for (let at = 0; at < rows.length; at += COUNTS)
      shown.push(...(await Promise.all(rows.slice(at, at + COUNTS).map((row) => present(row, signal)))));
    return shown;
  }

  const routes = [
    defineRoute({
      method: 'GET',
      path: '/api/v1/collections',
      summary: 'List my collections, newest first',
      query: v.strictObject(pageQuery),
      answers: {
        200: answers('A page of collections.', pageOf(shape), { data: [collectionExample], next_cursor: null }),
      },
      problems: ['not_found'],
      handle: async ({ query, principal }) => {
        const { rows, next } = await pageOfCollections(db, principal.userId, query);
        return { status: 200, body: { data: await presentAll(rows), next_cursor: next } };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/collections',
      summary: 'Make a collection of one embedding model, or of vectors of one length',
      body: newBody,
      example: { name: 'notes' },
      idempotent: 'answer',
      answers: {
        201: answers('The collection.', shape, { ...collectionExample, points: 0 }, [
          'Location',
          'Idempotency-Replayed',
        ]),
      },
      // Where vector search is switched off none of these paths is there.
      problems: ['not_found', 'already_exists', 'limit_reached'],
      handle: async ({ body, principal, base, trail, signal: client }) => {
        const { name, embedding_model, dimensions, distance } = body;
        if (embedding_model !== null && dimensions !== undefined)
          throw invalid([
            { pointer: '#/dimensions', detail: 'is said by the model; give it beside "embedding_model": null' },
          ]);
        if (await findCollection(db, principal.userId, name)) throw exists(name);
        const kind =
          embedding_model === null
            ? { embedding_model, dimensions: dimensions ?? null }
            : await asking({ client, ms: PROBE_MS }, (signal) =>
                kindOf(models, embedding_model, callOf(principal, signal)),
              );
        const made = { id: newId(), user_id: principal.userId, name, ...kind, distance };
        const stored = await db.transaction().execute(async (trx) => {
          const done = await insertCollection(trx, made, maxCollections);
          if (done.is === 'stored')
            await insertAudit(trx, [trail.entry({ action: 'collection.create', ...about(done.row) })]);
          return done;
        });
        if (stored.is === 'exists') throw exists(name);
        if (stored.is === 'full')
          throw new ProblemError(
            'limit_reached',
            `You have ${maxCollections} collections, which is the most. Delete one first.`,
          );
        const headers = { Location: `${base}/api/v1/collections/${name}` };
        return { status: 201, body: await present(stored.row), headers };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/collections/:name',
      summary: 'Read a collection',
      answers: { 200: answers('The collection.', shape, collectionExample) },
      handle: async ({ params, principal }) => ({
        status: 200,
        body: await present(await read(principal, params.name)),
      }),
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/collections/:name',
      summary: 'Delete a collection with everything in it',
      answers: { 204: answersNothing('The collection is gone, and its name free again.') },
      handle: async ({ params: { name = '' }, principal, trail }) => {
        const gone = await db.transaction().execute(async (trx) => {
          const removed = await removeCollection(trx, principal.userId, name);
          if (removed)
            await insertAudit(trx, [trail.entry({ action: 'collection.delete', ...about({ ...removed, name }) })]);
          return removed;
        });
        if (!gone) throw noSuchCollection();
        // At once where that is possible; what it comes to, a worker sees to later.
        await emptyCollection(requireStore(vectors), gone, AbortSignal.timeout(EMPTY_MS)).catch((error) =>
          log.debug({ err: error }, 'a removed collection could not be emptied yet; a worker does it later'),
        );
        return { status: 204 };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/collections/:name/search',
      summary: 'Find what is nearest to a text or a vector, or has the words, answered directly',
      body: v.pipe(
        v.strictObject(searchFields),
        v.check((given) => hasOne(given), WANTS_ONE),
        v.check((given) => fitsMode(given), WRONG_FOR_MODE),
      ),
      example: { query: 'Where can I make tea?', limit: 3 },
      answers: {
        200: answers('The points, the best first.', searchOutput, {
          hits: [{ id: 'note-1', score: 0.83, payload: { room: 'kitchen' }, text: 'The kettle is in the kitchen.' }],
        }),
      },
      problems: ['model_changed'],
      handle: async ({ body, params: { name = '' }, principal, signal: client }) => {
        const { userId } = principal;
        if (body.query !== undefined) (await limits.admit(userId, 0))();
        const found = await asking({ client, ms: SEARCH_MS }, (signal) => {
          const embed = async (request: Parameters<ModelClient['embed']>[0]) => {
            const { answer, usage, served } = await models.embed(request, callOf(principal, signal));
            await addTokens(db, userId, usage.input_tokens);
            return { ...answer, digest: served?.digest };
          };
          const stores = { db, store: requireStore(vectors) };
          return searchCollection(stores, { userId, embed, signal }, { ...body, collection: name });
        });
        return { status: 200, body: found };
      },
    }),
  ];
  return offWhen(vectors === undefined, VECTORS_OFF, routes);
}

/** A call of a model by somebody, with those that they may use. */
function callOf(principal: Principal, signal: AbortSignal) {
  return { signal, by: [principal.userId], mayUse: (model: string) => principal.modelRefusal?.(model) === undefined };
}

function exists(name: string): ProblemError {
  return new ProblemError('already_exists', `You have a collection ${name} already.`);
}

/** For the audit log. */
function about({ id, name, embedding_model, dimensions, distance }: CollectionRow) {
  return { object: { type: 'collection', id }, details: { name, embedding_model, dimensions, distance } };
}
