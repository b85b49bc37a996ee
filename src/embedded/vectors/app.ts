import { createHash, timingSafeEqual } from 'node:crypto';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { Logger } from '../../log.ts';
import { addCollectionRoutes } from './collection-routes.ts';
import type { Database } from './database.ts';
import { isStoreError, type StoreError, statusOf, storeError } from './errors.ts';
import { addPointRoutes } from './point-routes.ts';
import { type Env, failed } from './reply.ts';

// Clients compare the first two numbers with their own; the rest says plainly what this is.
const VERSION = '1.19.0-embedded';
const MAX_BODY = 32 * 1024 * 1024;
/** Open without a key, as on the real server: they tell nothing about the data. */
const OPEN_PATHS = new Set(['/', '/healthz', '/livez', '/readyz']);

/** Builds the HTTP application over an open database. */
export function createApp(parts: { db: Database; log: Logger; apiKey?: string; isClosing: () => boolean }): Hono<Env> {
  const { db, log, apiKey, isClosing } = parts;
  const app = new Hono<Env>();

  app.use(async (c, next) => {
    c.set('started', performance.now());
    if (isClosing()) throw storeError('closing', 'The vector store is shutting down');
    if (apiKey !== undefined && !OPEN_PATHS.has(c.req.path)) requireKey(c, apiKey);
    await next();
    const ms = performance.now() - c.get('started');
    log.debug({ method: c.req.method, path: c.req.path, status: c.res.status, ms }, 'vector store answered');
  });
  app.use(
    bodyLimit({
      maxSize: MAX_BODY,
      onError: () => {
        throw storeError('tooLarge', `JSON payload is larger than allowed (limit: ${MAX_BODY} bytes)`);
      },
    }),
  );

  app.get('/', (c) =>
    c.json({ title: 'sutazai embedded vector store (speaks a part of the Qdrant API)', version: VERSION }),
  );
  for (const path of ['/healthz', '/livez']) app.get(path, (c) => c.text('healthz check passed'));
  app.get('/readyz', (c) => c.text('all shards are ready'));
  addCollectionRoutes(app, db);
  addPointRoutes(app, db);

  app.notFound((c) =>
    answerError(c, storeError('notFound', `${c.req.method} ${c.req.path} is no route of this server`)),
  );
  app.onError((error, c) => {
    if (isStoreError(error)) return answerError(c, error);
    log.error({ err: error, method: c.req.method, path: c.req.path }, 'vector store failed');
    return failed(c, 500, 'Service internal error: the reason is in the log of the vector store');
  });
  return app;
}

function answerError(c: Context<Env>, error: StoreError): Response {
  return failed(c, statusOf(error), error.message);
}

function requireKey(c: Context<Env>, apiKey: string): void {
  const given = c.req.header('api-key') ?? /^Bearer (.+)$/.exec(c.req.header('authorization') ?? '')?.[1];
  if (given === undefined) {
    throw storeError('unauthorized', 'Must provide an API key or an Authorization bearer token');
  }
  // Digests are of one length and compared in constant time, so that the answer's time tells nothing of the key.
  if (!timingSafeEqual(digest(given), digest(apiKey))) throw storeError('unauthorized', 'Invalid API key');
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
