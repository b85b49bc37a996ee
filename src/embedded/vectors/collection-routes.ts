import type { Hono } from 'hono';
import { CreateCollection, CreateIndex, UpdateCollection } from './collection-shape.ts';
import {
  createCollection,
  createIndex,
  deleteCollection,
  deleteIndex,
  describeCollection,
  findCollection,
  getCollection,
  listCollections,
  nextOperation,
  updateCollection,
} from './collections.ts';
import type { Database } from './database.ts';
import { type Env, ok, readBody, updated } from './reply.ts';

/** The routes about collections and their payload indexes. */
export function addCollectionRoutes(app: Hono<Env>, db: Database): void {
  app.get('/collections', (c) => ok(c, { collections: listCollections(db).map((name) => ({ name })) }));
  app.get('/collections/:name', (c) => ok(c, describeCollection(db, c.req.param('name'))));
  app.get('/collections/:name/exists', (c) => ok(c, { exists: findCollection(db, c.req.param('name')) !== undefined }));
  app.put('/collections/:name', async (c) => {
    createCollection(db, c.req.param('name'), await readBody(c, CreateCollection));
    return ok(c, true);
  });
  app.patch('/collections/:name', async (c) => {
    updateCollection(db, c.req.param('name'), await readBody(c, UpdateCollection));
    return ok(c, true);
  });
  app.delete('/collections/:name', (c) => ok(c, deleteCollection(db, c.req.param('name'))));

  app.put('/collections/:name/index', async (c) => {
    const index = await readBody(c, CreateIndex);
    const operation = db.transaction(() => {
      const collection = getCollection(db, c.req.param('name'));
      createIndex(db, collection, index);
      return nextOperation(db, collection);
    });
    return updated(c, operation);
  });
  app.delete('/collections/:name/index/:field', (c) => {
    const operation = db.transaction(() => {
      const collection = getCollection(db, c.req.param('name'));
      deleteIndex(db, collection, c.req.param('field'));
      return nextOperation(db, collection);
    });
    return updated(c, operation);
  });
}
