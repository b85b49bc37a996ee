import { ensureAdministrator } from './api/auth/accounts.ts';
import { createPasswords, type Passwords } from './api/auth/passwords.ts';
import { startApi } from './api/index.ts';
import { createTaskMaker } from './api/scheduled-task.ts';
import { createCallbacks } from './callbacks.ts';
import { createModelClient } from './clients/ollama.ts';
import { createOutbound } from './clients/outbound.ts';
import { createVectorClient } from './clients/qdrant.ts';
import type { Config } from './config.ts';
import { checkDatabase, createDb, type Db } from './db/connect.ts';
import { LIMITS_CHANNEL } from './db/limits.ts';
import { openNotifications } from './db/notify.ts';
import { IDENTITY_CHANNEL } from './db/principals.ts';
import { BACKLOG_CHANNEL } from './db/tasks/backlog.ts';
import { LIVE_CHANNEL } from './db/tasks/streams.ts';
import { TASK_CHANNEL } from './db/tasks/transition.ts';
import { errorMessage } from './errors.ts';
import { openHealth } from './health/index.ts';
import { createMetricsPage } from './health/metrics.ts';
import { createProbes } from './health/probes.ts';
import { createReadiness } from './health/readiness.ts';
import { createStack, type Stack, Stopping, within } from './lifecycle.ts';
import type { Logger } from './log.ts';
import { bringSchema } from './migrate-command.ts';
import type { Parts } from './parts.ts';
import { permits } from './permissions.ts';
import { openPools } from './pools.ts';
import { openQueueBackend } from './queues/backend.ts';
import { createPlaces } from './queues/places.ts';
import { createReconciler, type Reconciler } from './queues/reconciler.ts';
import { startQueues } from './queues/start.ts';
import { createTicker } from './schedules/ticker.ts';
import { createSecretBox } from './secretbox.ts';
import { checkUpstreams, findServices, type Services } from './services.ts';
import { createRegistry } from './tasks/index.ts';
import { startLaneWorkers } from './workers/index.ts';
import { createWorkflows } from './workflows/engine.ts';

/** What a process does: answer requests, run tasks, or both. `start` also starts embedded parts and migrates. */
export type Mode = 'start' | 'api' | 'worker';

/** A running process. */
export interface Running {
  /** Where the API listens; not there in a worker. */
  url: string | undefined;
  /** Where `/healthz` is answered whatever the main loop does; not there without HEALTH_PORT. */
  healthUrl: string | undefined;
  services: Services;
  /** The first administrator's login, where it was made just now with a generated password. */
  firstAdmin: { username: string; password: string } | undefined;
  reconciler: Reconciler;
  /** Takes everything down, in bounded time whatever is away; answers how many tasks could not be handed back. */
  close(): Promise<number>;
}

/** What handing back may take after the grace; the workers themselves take less. */
const HAND_BACK_MS = 3_000;
/** What sending the last traces may take. */
const LAST_TRACES_MS = 1_000;
/** What rounds that stand still may take: what one of them stored without a job gets it from the reconciler of another process. */
const ROUND_MS = 100;
/** What a start that is given up may take to come to its next step. */
const UNWIND_MS = 3_500;

/**
 * Builds everything in order; `close` takes it down in reverse. What fails in the middle is taken down before the error is thrown.
 * @param stopped gives the building up. @throws Stopping once what was built by then is down
 */
export async function run(config: Config, mode: Mode, log: Logger, stopped?: AbortSignal): Promise<Running> {
  const stack = createStack(log);
  const building = build(config, mode, stack, log);
  const givenUp = new Promise<never>((_, reject) => {
    stopped?.addEventListener('abort', async () => {
      await stack.close();
      // What is just being opened comes onto the stack once it is, and is closed at once.
      await within(building, UNWIND_MS, 'the start').catch(() => {});
      reject(new Stopping('the start was given up'));
    });
  });
  try {
    return await Promise.race([building, givenUp]);
  } catch (error) {
    await stack.close();
    throw error;
  }
}

async function build(config: Config, mode: Mode, stack: Stack, log: Logger): Promise<Running> {
  if (config.traces.endpoint) {
    // Loaded where it is wanted alone.
    const { startTracing } = await import('./telemetry/otlp.ts');
    const { endpoint } = config.traces;
    stack.defer('the traces', startTracing({ ...config.traces, endpoint, mode, log }), LAST_TRACES_MS);
  }
  if (config.enterprise) log.warn('ENABLE_ENTERPRISE_FEATURES is set, but there is one edition and it has everything');
  const open = findServices(config, mode, stack, log);
  const health = await openHealth(config.health, log);
  stack.defer('the health port', () => health.close());
  const services = await open();

  const pools = openPools(services.databaseUrl, config.database.poolMax, stack, log);
  const db = createDb(pools.main);
  await checkDatabase(pools.main, services.databaseSource);
  await bringSchema(mode === 'start', { db, pool: pools.main, log, config });

  const backend = await openQueueBackend({
    kind: config.queue.backend,
    redisUrl: config.queue.redisUrl,
    redis: config.queue.redis,
    databaseUrl: services.databaseUrl,
    prefix: config.queue.prefix,
    workers: mode === 'api' ? 0 : config.worker.lanes.length,
    log,
  });
  stack.defer('the queue backend', () => backend.close());
  const notifications = await openNotifications(
    services.databaseUrl,
    [TASK_CHANNEL, IDENTITY_CHANNEL, LIMITS_CHANNEL, BACKLOG_CHANNEL, ...(mode === 'worker' ? [] : [LIVE_CHANNEL])],
    log,
  );
  stack.defer('the notifications', () => notifications.close());

  const queues = startQueues({ ...{ db, pool: pools.reconciler, backend, notifications, log }, ...config });
  const { dispatcher } = queues;
  stack.defer('the admitter', queues.close, ROUND_MS);
  const holds = { everybody: config.limits.user.running_tasks, agingMs: config.queue.agingMs };

  const registry = createRegistry({ vectors: config.vectors.enabled });
  const outbound = createOutbound(config.egressAllow);
  stack.defer('the outbound client', () => outbound.close());
  const places = createPlaces({ db, dispatcher, ...holds, log });
  const workflows = createWorkflows({
    ...{ db, dispatcher, places, registry, log },
    checkUrl: outbound.check,
    maxOutputBytes: config.worker.maxOutputBytes,
    window: config.workflows.window,
    limits: config.limits.user,
  });
  stack.defer('the workflows', () => workflows.close());

  const reconciler = createReconciler({
    db,
    pool: pools.reconciler,
    backend,
    dispatcher,
    leaseMs: config.worker.leaseSeconds * 1000,
    retention: config.retention,
    sweep: () => workflows.sweep(),
    ...holds,
    log,
  });
  stack.defer('the reconciler', () => reconciler.close());

  const models = createModelClient({
    ...config.models,
    ...config.models.slots,
    hosts: services.ollamaHosts,
    log,
  });
  stack.defer('the model client', () => models.close());
  const vectors = services.qdrantUrl
    ? createVectorClient({ url: services.qdrantUrl, apiKey: config.vectors.apiKey, caFile: config.vectors.caFile, log })
    : undefined;
  if (mode === 'start') await checkUpstreams(models, vectors);
  else if (mode === 'worker')
    await checkUpstreams(models, vectors).catch((error) =>
      log.error(`${errorMessage(error)} Tasks that need it wait.`),
    );

  const kinds = { database: services.databaseKind, models: services.modelsKind, vectors: services.vectorsKind };
  const asked = { db, backend, dispatcher, models, vectors, kinds };
  const box = createSecretBox(services.secrets.ENCRYPTION_KEY, config.otherEncryptionKeys);
  let apiUrl = config.http.publicUrl ?? services.apiUrl;
  const readiness = createReadiness(createProbes(asked, mode === 'worker'));
  const metricsPage = config.monitoring.enabled
    ? createMetricsPage({ ...asked, readiness, pools, mode, log })
    : undefined;
  if (metricsPage) health.serve('/metrics', metricsPage);
  const parts: Parts = {
    ...asked,
    config,
    places,
    workflows,
    notifications,
    registry,
    outbound,
    box,
    callbacks: createCallbacks(box, () => apiUrl),
    readiness,
    metricsPage,
    log,
  };
  const ticker = createTicker({
    ...parts,
    types: parts.registry.list().map(({ name }) => name),
    make: createTaskMaker({ ...parts, checkUrl: outbound.check }),
    maySubmit: (role) => permits(role, undefined, 'tasks:create'),
    limits: config.limits.user,
  });
  stack.defer('the ticker of schedules', () => ticker.close(), ROUND_MS);
  const graceMs = config.worker.graceSeconds * 1000;
  // Requests and tasks share one grace: both stop taking at once, and the process ends when the slower one has.
  const serving: Array<(graceMs: number) => Promise<void>> = [];
  const closeServing = async () => void (await Promise.all(serving.map((close) => close(graceMs))));
  stack.defer('requests and tasks', closeServing, graceMs + HAND_BACK_MS);
  let left = 0;
  let problems: () => string[] = () => [];
  if (mode !== 'api') {
    const workers = startLaneWorkers({ ...parts, db: createDb(pools.workers) });
    serving.push(async (ms) => {
      left = await workers.close(ms);
    });
    problems = workers.problems;
  }
  const close = () => {
    health.stopping();
    return stack.close().then(() => left);
  };
  const running = { services, reconciler, healthUrl: health.url, close };
  if (mode === 'worker') {
    health.up(parts.readiness, problems);
    return { url: undefined, firstAdmin: undefined, ...running };
  }

  const passwords = createPasswords(config.auth.bcryptCost);
  const firstAdmin = await makeFirstAdmin(config, services, db, passwords);
  const server = await startApi(parts, { ...config.auth, secret: services.secrets.JWT_SECRET_KEY }, passwords);
  serving.push(server.close);
  apiUrl ??= server.url;
  services.announce({ url: server.url });
  health.up(parts.readiness, problems);
  return { url: server.url, firstAdmin, ...running };
}

/** The first start makes an administrator; a password that was generated is answered, to be shown once. */
async function makeFirstAdmin(
  { auth }: Config,
  services: Services,
  db: Db,
  passwords: Passwords,
): Promise<Running['firstAdmin']> {
  const password = auth.adminPassword ?? services.adminPassword;
  if (!password) return undefined;
  const made = await ensureAdministrator(db, passwords, { email: auth.adminEmail, password });
  return made && !auth.adminPassword ? { username: 'admin', password } : undefined;
}
