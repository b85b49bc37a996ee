import { createModelRights } from '../clients/model-rights.ts';
import type { Config } from '../config.ts';
import type { Parts } from '../parts.ts';
import { createApp } from './app.ts';
import { createAudit } from './audit.ts';
import { createIdentity } from './auth/identity.ts';
import { createLogins } from './auth/logins.ts';
import type { Passwords } from './auth/passwords.ts';
import { createPrincipals } from './auth/principals.ts';
import { openSigningKeys, overlapOf } from './auth/signing-keys.ts';
import { createTokens } from './auth/tokens.ts';
import { createBoard } from './board.ts';
import { createClientAddresses } from './client-address.ts';
import { createIdempotency } from './idempotency.ts';
import { createLimits } from './limits/index.ts';
import { createBatchRunner } from './openai/batches/runner.ts';
import { createRoutes } from './routes/index.ts';
import { type ApiServer, listen } from './server.ts';
import { createStore } from './store.ts';
import { createReadEvents } from './streams/events.ts';
import { createFeeds } from './streams/feeds.ts';
import { createOpenStreams } from './streams/open-streams.ts';
import { createWaiters } from './waiters.ts';

/** Builds the API and starts to listen. */
export async function startApi(
  parts: Parts,
  auth: Config['auth'] & { secret: string },
  passwords: Passwords,
): Promise<ApiServer> {
  const { config, db, backend, notifications, box, log } = parts;
  const keys = await openSigningKeys({
    ...{ db, box, notifications, log },
    configured: auth.secret,
    overlapSeconds: overlapOf(auth),
  });
  const tokens = createTokens(auth, keys);
  const modelRights = createModelRights(config.models.byRole);
  const principals = createPrincipals({
    ...{ db, tokens, notifications, log },
    unknownKeysPerMinute: config.limits.authPerMinute,
    models: modelRights,
  });
  keys.onChange(principals.forgetAll);
  const logins = createLogins(db);
  const identity = createIdentity({ db, auth, seal: box, tokens, passwords, logins, principals, log });
  const audit = createAudit({ db, log });
  const limits = await createLimits(parts);
  const waiters = createWaiters(notifications);
  const feeds = createFeeds({ db, notifications, waiters, log });
  const readEvents = createReadEvents({ db, waiters, feeds });
  const streams = createOpenStreams({ limits: config.limits.streams, onGone: principals.onGone, log });
  const store = createStore({ ...parts, limits });
  const batches = createBatchRunner({
    ...parts,
    checkUrl: parts.outbound.check,
    userLimits: config.limits.user,
    modelRights,
    limits: { ...config.batches, maxLineBytes: config.http.maxBodyBytes },
  });
  const routes = createRoutes({
    ...parts,
    ...{ auth, identity, principals, tokens, limits, waiters, store, readEvents, streams, batches },
  });
  const board = createBoard({
    db,
    backend,
    identity,
    principals,
    audit,
    limits,
    secureCookie: config.production,
    sessionSeconds: auth.accessSeconds,
  });
  const app = createApp({
    routes,
    principals,
    audit,
    limits,
    idempotency: createIdempotency(parts),
    publicUrl: config.http.publicUrl,
    addresses: createClientAddresses(config.http.trustedProxies),
    origins: config.http.corsOrigins,
    maxBodyBytes: config.http.maxBodyBytes,
    docsOpen: config.http.docsOpen,
    mounts: config.monitoring.enabled ? [{ path: '/admin', app: board }] : [],
    log,
  });
  const server = await listen(app, { ...config.http, log });
  log.info({ url: server.url }, 'listening');
  return {
    url: server.url,
    async close(graceMs) {
      // Who waits for a task is answered with the task as it is, instead of holding the shutdown up.
      const batchesEnd = batches.close();
      const streamsEnd = streams.close();
      waiters.close();
      feeds.close();
      await Promise.all([server.close(graceMs), streamsEnd, batchesEnd]);
      await audit.close();
      await limits.close();
      keys.close();
      await principals.close();
    },
  };
}
