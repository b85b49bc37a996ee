import type { Context, Hono } from 'hono';
import type * as v from 'valibot';
import { type Collection, getCollection } from './collections.ts';
import type { Database } from './database.ts';
import { storeError } from './errors.ts';
import { idInUrlToKey, keyToId } from './ids.ts';
import { mergePayload, mergePayloadAt, removeFromPayload } from './payload-edit.ts';
import {
  answerOf,
  CountPoints,
  DeletePayload,
  QueryBatch,
  QueryPoints,
  RetrievePoints,
  ScrollPoints,
  SelectPoints,
  SetPayload,
  UpsertPoints,
} from './point-shape.ts';
import { changePayloads, countPoints, deletePoints, retrievePoints, scrollPoints, upsertPoints } from './points.ts';
import { type Env, ok, readBody, updated } from './reply.ts';
import { queryPoints } from './search.ts';
import { requireAtLeast } from './shape-parts.ts';

const POINTS = '/collections/:name/points';

/** The routes about points: writing, payloads, reading and searching. */
export function addPointRoutes(app: Hono<Env>, db: Database): void {
  addWrites(app, db);
  addReads(app, db);
}

/** A body in its shape, and the collection that the address names. */
async function readFor<T>(
  c: Context<Env>,
  db: Database,
  shape: v.GenericSchema<unknown, T>,
): Promise<{ collection: Collection; body: T }> {
  const body = await readBody(c, shape);
  return { collection: getCollection(db, c.req.param('name') ?? ''), body };
}

function addWrites(app: Hono<Env>, db: Database): void {
  app.put(POINTS, async (c) => {
    const { collection, body } = await readFor(c, db, UpsertPoints);
    return updated(c, upsertPoints(db, collection, body));
  });
  app.post(`${POINTS}/delete`, async (c) => {
    const { collection, body } = await readFor(c, db, SelectPoints);
    return updated(c, deletePoints(db, collection, body));
  });
  app.post(`${POINTS}/payload`, async (c) => {
    const { collection, body } = await readFor(c, db, SetPayload);
    const { key, payload } = body;
    const set = (old: typeof payload) => (key ? mergePayloadAt(old, key, payload) : mergePayload(old, payload));
    return updated(c, changePayloads(db, collection, body, set));
  });
  app.put(`${POINTS}/payload`, async (c) => {
    const { collection, body } = await readFor(c, db, SetPayload);
    return updated(
      c,
      changePayloads(db, collection, body, () => body.payload),
    );
  });
  app.post(`${POINTS}/payload/delete`, async (c) => {
    const { collection, body } = await readFor(c, db, DeletePayload);
    return updated(
      c,
      changePayloads(db, collection, body, (old) => body.keys.reduce(removeFromPayload, old)),
    );
  });
  app.post(`${POINTS}/payload/clear`, async (c) => {
    const { collection, body } = await readFor(c, db, SelectPoints);
    return updated(
      c,
      changePayloads(db, collection, body, () => ({})),
    );
  });
}

function addReads(app: Hono<Env>, db: Database): void {
  app.get(`${POINTS}/:id`, (c) => {
    const collection = getCollection(db, c.req.param('name'));
    const key = idInUrlToKey(c.req.param('id'));
    if (key === undefined) throw storeError('badInput', `Can not recognize "${c.req.param('id')}" as point id`);
    const [point] = retrievePoints(db, collection, [key], { with_payload: true, with_vector: true });
    if (!point) throw storeError('notFound', `Point with id ${keyToId(key)} does not exists!`);
    return ok(c, point);
  });
  app.post(POINTS, async (c) => {
    const { collection, body } = await readFor(c, db, RetrievePoints);
    return ok(c, retrievePoints(db, collection, body.ids, answerOf(body, true)));
  });
  app.post(`${POINTS}/scroll`, async (c) => {
    const { collection, body } = await readFor(c, db, ScrollPoints);
    requireAtLeast('limit', body.limit, 1);
    return ok(c, scrollPoints(db, collection, body, answerOf(body, true)));
  });
  app.post(`${POINTS}/count`, async (c) => {
    const { collection, body } = await readFor(c, db, CountPoints);
    return ok(c, { count: countPoints(db, collection, body.filter) });
  });
  app.post(`${POINTS}/query`, async (c) => {
    const { collection, body } = await readFor(c, db, QueryPoints);
    requireAtLeast('limit', body.limit, 1);
    return ok(c, { points: queryPoints(db, collection, body) });
  });
  app.post(`${POINTS}/query/batch`, async (c) => {
    const { collection, body } = await readFor(c, db, QueryBatch);
    for (const [at, query] of body.searches.entries()) requireAtLeast(`searches[${at}].limit`, query.limit, 1);
    return ok(
      c,
      body.searches.map((query) => ({ points: queryPoints(db, collection, query) })),
    );
  });
}
