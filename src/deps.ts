import { hostname } from 'node:os';
import { createApp } from './api/app.ts';
import { createIdentity, ensureAdministrator, type Identity } from './api/auth/identity.ts';
import { createPasswords } from './api/auth/passwords.ts';
import { createTokens } from './api/auth/tokens.ts';
import { createBoard } from './api/board.ts';
import { authRoutes } from './api/routes/auth.ts';
import { catalogueRoutes } from './api/routes/catalogue.ts';
import { healthRoutes, type Probe } from './api/routes/health.ts';
import { taskRoutes } from './api/routes/tasks.ts';
import { type ApiServer, listen } from './api/server.ts';
import { createWaiters } from './api/waiters.ts';
import { createModelClient, type ModelClient } from './clients/ollama.ts';
import { createOutbound } from './clients/outbound.ts';
import { createVectorClient, type VectorClient } from './clients/qdrant.ts';
import type { Config } from './config.ts';
import { createBatch } from './db/batch.ts';
import { checkDatabase, createDb, createPool, type Db } from './db/connect.ts';
import { migrateUp, migrationStatus } from './db/migrate.ts';
import { type Notifications, openNotifications } from './db/notify.ts';
import { SESSION_CHANNEL } from './db/sessions.ts';
import { acceptMany, type NewTask } from './db/tasks/accept.ts';
import type { TaskRow } from './db/tasks/read.ts';
import { TASK_CHANNEL } from './db/tasks/transition.ts';
import { errorMessage, UsageError } from './errors.ts';
import { createStack, type Stack } from './lifecycle.ts';
import type { Logger } from './log.ts';
import { migrateQueueBackend, openQueueBackend, type QueueBackend } from './queues/backend.ts';
import { createDispatcher, type Dispatcher } from './queues/dispatcher.ts';
import { createReconciler, type Reconciler } from './queues/reconciler.ts';
import { createSecretBox, type SecretBox } from './secretbox.ts';
import { joinServices, type Services, startServices } from './services.ts';
import { createRegistry, type Registry } from './tasks/index.ts';
import { createDeliverer } from './webhooks/deliver.ts';
import { createProgress } from './workers/progress.ts';
import { createToolFactory } from './workers/tools.ts';
import { startWorkers } from './workers/worker.ts';

/** What a process does: answer requests, run tasks, or both. `start` also starts embedded parts and migrates. */
export type Mode = 'start' | 'api' | 'worker';

/** A running process. */
export interface Running {
  /** Where the API listens; not there in a worker. */
  url: string | undefined;
  services: Services;
  /** The first administrator's login, where it was made just now with a generated password. */
  firstAdmin: { username: string; password: string } | undefined;
  reconciler: Reconciler;
  close(): Promise<void>;
}

interface Shared {
  config: Config;
  services: Services;
  db: Db;
  backend: QueueBackend;
  dispatcher: Dispatcher;
  notifications: Notifications;
  registry: Registry;
  models: ModelClient;
  vectors: VectorClient | undefined;
  box: SecretBox;
  stack: Stack;
  log: Logger;
}

const RESOLVE_TIMEOUT_MS = 5_000;

/** Builds everything in order; `close` takes it down in reverse. What fails in the middle is taken down before the error is thrown. */
export async function run(config: Config, mode: Mode, log: Logger): Promise<Running> {
  const stack = createStack(log);
  try {
    return await build(config, mode, stack, log);
  } catch (error) {
    await stack.close();
    throw error;
  }
}

async function build(config: Config, mode: Mode, stack: Stack, log: Logger): Promise<Running> {
  if (config.enterprise) log.warn('ENABLE_ENTERPRISE_FEATURES is set, but there is one edition and it has everything');
  const services = mode === 'start' ? await startServices(config, stack, log) : joinServices(config);

  const pool = createPool({ url: services.databaseUrl, max: config.database.poolMax, name: 'sutazai', log });
  const db = createDb(pool);
  stack.defer('the database pool', () => db.destroy());
  await checkDatabase(pool, services.databaseSource);
  await bringSchema(mode, { db, pool, log, kind: config.queue.backend });

  const backend = await openQueueBackend({
    kind: config.queue.backend,
    redisUrl: config.queue.redisUrl,
    databaseUrl: services.databaseUrl,
    prefix: config.queue.prefix,
    workers: mode === 'api' ? 0 : config.worker.lanes.length,
    log,
  });
  stack.defer('the queue backend', () => backend.close());
  const dispatcher = createDispatcher(
    backend,
    { completed: config.queue.keepCompleted, failed: config.queue.keepFailed },
    log,
  );

  const notifications = await openNotifications(services.databaseUrl, [TASK_CHANNEL, SESSION_CHANNEL], log);
  stack.defer('the notifications', () => notifications.close());

  // The leader keeps its connection, so it has a pool of its own.
  const leaderPool = createPool({ url: services.databaseUrl, max: 1, name: 'sutazai:reconciler', log });
  stack.defer('the reconciler pool', () => leaderPool.end());
  const reconciler = createReconciler({ db, pool: leaderPool, backend, dispatcher, log });
  stack.defer('the reconciler', () => reconciler.close());

  const models = createModelClient({
    host: services.ollamaHost,
    defaultModel: config.models.defaultModel,
    embeddingModel: config.models.embeddingModel,
    allowed: config.models.allowed,
    autoPull: config.models.autoPull,
  });
  stack.defer('the model client', () => models.close());
  const vectors = services.qdrantUrl
    ? createVectorClient({ url: services.qdrantUrl, apiKey: config.vectors.apiKey })
    : undefined;
  if (mode === 'start') await checkUpstreams(models, vectors);

  const shared: Shared = {
    config,
    services,
    db,
    backend,
    dispatcher,
    notifications,
    registry: createRegistry({ vectors: config.vectors.enabled }),
    models,
    vectors,
    box: createSecretBox(services.secrets.ENCRYPTION_KEY),
    stack,
    log,
  };
  const auth = { ...config.auth, secret: services.secrets.JWT_SECRET_KEY };
  const passwords = createPasswords(auth.bcryptCost);
  const firstAdmin = mode === 'worker' ? undefined : await makeFirstAdmin(shared, passwords);
  if (mode !== 'api') runWorkers(shared);
  if (mode === 'worker') return { url: undefined, services, firstAdmin, reconciler, close: stack.close };

  const identity = await createIdentity({ db, auth, tokens: createTokens(auth), passwords, notifications, log });
  stack.defer('the identity service', () => identity.close());
  const server = await runApi(shared, identity);
  services.announce({ url: server.url });
  return { url: server.url, services, firstAdmin, reconciler, close: stack.close };
}

async function bringSchema(
  mode: Mode,
  { kind, ...options }: { db: Db; pool: import('pg').Pool; log: Logger; kind: 'redis' | 'postgres' },
): Promise<void> {
  if (mode === 'start') {
    await migrateUp(options);
    return migrateQueueBackend({ kind }, options.pool);
  }
  const pending = (await migrationStatus(options)).filter(({ appliedAt }) => !appliedAt);
  if (pending.length > 0)
    throw new UsageError(
      `The database lacks ${pending.length} migrations (${pending.map(({ name }) => name).join(', ')}). Run \`sutazai migrate up\` first.`,
    );
}

async function checkUpstreams(models: ModelClient, vectors: VectorClient | undefined): Promise<void> {
  await models.ping(AbortSignal.timeout(RESOLVE_TIMEOUT_MS)).catch((error) => {
    throw new UsageError(
      `Ollama cannot be used (${errorMessage(error)}): look at OLLAMA_HOST. Is the server up? \`curl $OLLAMA_HOST/api/version\` shows it.`,
      { cause: error },
    );
  });
  await vectors?.ping().catch((error) => {
    throw new UsageError(
      `Qdrant cannot be used (${errorMessage(error)}): look at QDRANT_URL and QDRANT_API_KEY, or set ENABLE_VECTOR_SEARCH=false.`,
      { cause: error },
    );
  });
}

async function makeFirstAdmin(
  { config, services, db }: Shared,
  passwords: ReturnType<typeof createPasswords>,
): Promise<Running['firstAdmin']> {
  const password = config.auth.adminPassword ?? services.adminPassword;
  if (!password) return undefined;
  const made = await ensureAdministrator(db, passwords, { email: config.auth.adminEmail, password });
  return made && !config.auth.adminPassword ? { username: 'admin', password } : undefined;
}

function runWorkers({
  config,
  services,
  db,
  backend,
  dispatcher,
  notifications,
  registry,
  models,
  vectors,
  box,
  stack,
  log,
}: Shared): void {
  const outbound = createOutbound(config.egressAllow);
  stack.defer('the outbound client', () => outbound.close());
  const progress = createProgress(db, log);
  stack.defer('the progress writer', () => progress.close());
  const publicUrl = config.http.publicUrl ?? `http://${config.http.host}:${config.http.port}`;
  const workers = startWorkers({
    name: `${hostname()}:${process.pid}`.slice(-100),
    lanes: config.worker.lanes,
    concurrency: config.worker.concurrency,
    leaseMs: config.worker.leaseSeconds * 1000,
    maxOutputBytes: config.worker.maxOutputBytes,
    db,
    backend,
    dispatcher,
    notifications,
    registry,
    tools: createToolFactory({ db, models, vectors, onProgress: progress.report, log }),
    deliver: createDeliverer({ db, outbound, box, publicUrl, log }),
    log,
  });
  stack.defer('the workers', () => workers.close(config.worker.graceSeconds * 1000));
  log.info(
    { lanes: config.worker.lanes, models: services.modelsKind, vectors: services.vectorsKind, queue: backend.kind },
    'working',
  );
}

async function runApi(
  { config, services, db, backend, dispatcher, notifications, registry, models, vectors, box, stack, log }: Shared,
  identity: Identity,
): Promise<ApiServer> {
  const waiters = createWaiters(notifications);
  const outbound = createOutbound(config.egressAllow);
  const acceptBatch = createBatch<NewTask[], TaskRow[]>({
    run: (lists) => acceptMany(db, lists),
    max: 100,
    parallel: 2,
  });
  const probes: Probe[] = [
    {
      name: 'database',
      kind: services.databaseKind,
      required: true,
      check: async () => {
        await db.selectFrom('users').select('id').limit(1).execute();
        return {};
      },
    },
    {
      name: 'queues',
      kind: `BullMQ on ${backend.kind === 'redis' ? 'Redis' : services.databaseKind}`,
      required: false,
      check: async () => totals(await dispatcher.counts()),
    },
    {
      name: 'models',
      kind: services.modelsKind,
      required: false,
      check: async (signal) => ({ version: await models.ping(signal) }),
    },
  ];
  if (vectors)
    probes.push({
      name: 'vectors',
      kind: services.vectorsKind,
      required: false,
      check: async () => ({ version: await vectors.ping() }),
    });

  const app = createApp({
    routes: [
      ...healthRoutes(probes),
      ...authRoutes(identity),
      ...catalogueRoutes({ registry, models, modelsKind: services.modelsKind }),
      ...taskRoutes({ db, registry, dispatcher, waiters, box, checkUrl: outbound.check, accept: acceptBatch }),
    ],
    identity,
    publicUrl: config.http.publicUrl,
    maxBodyBytes: config.http.maxBodyBytes,
    mounts: config.monitoring.enabled
      ? [
          {
            path: '/admin',
            app: createBoard({
              backend,
              identity,
              secureCookie: config.production,
              sessionSeconds: config.auth.accessSeconds,
            }),
          },
        ]
      : [],
    log,
  });
  const server = await listen(app, config.http);
  stack.defer('the API', async () => {
    waiters.close();
    await server.close(config.worker.graceSeconds * 1000);
    await outbound.close();
  });
  log.info({ url: server.url }, 'listening');
  return server;
}

function totals(counts: Awaited<ReturnType<Dispatcher['counts']>>) {
  const all = Object.values(counts);
  const sum = (key: 'waiting' | 'active' | 'delayed') => all.reduce((total, lane) => total + lane[key], 0);
  return { waiting: sum('waiting'), active: sum('active'), delayed: sum('delayed') };
}
