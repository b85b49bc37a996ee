import type { ModelClient } from './clients/ollama.ts';
import type { VectorClient } from './clients/qdrant.ts';
import { errorCode } from './clients/upstream.ts';
import type { Config } from './config.ts';
import { currentUrl, type DatabaseAddress } from './db/address.ts';
import type { Mode } from './deps.ts';
import type { ChildServer } from './embedded/child.ts';
import { findRun, type Home, type LocalSecrets, loadSecrets, openHome, type RunInfo } from './embedded/home.ts';
import { errorMessage, UsageError } from './errors.ts';
import type { Stack } from './lifecycle.ts';
import { tryToListen } from './listening.ts';
import type { Logger } from './log.ts';

/** Where everything is, configured or embedded, and what to call it towards users. */
export interface Services {
  databaseUrl: DatabaseAddress;
  databaseKind: string;
  /** The variable that an operator would look at. */
  databaseSource: string;
  ollamaHosts: readonly string[];
  modelsKind: string;
  qdrantUrl: string | undefined;
  vectorsKind: string;
  secrets: Pick<LocalSecrets, 'JWT_SECRET_KEY' | 'ENCRYPTION_KEY'>;
  /** The password for a first administrator, where none is configured. */
  adminPassword: string | undefined;
  /** Where the API of a `sutazai start` on this machine listens, if this process has joined one. */
  apiUrl?: string;
  /** Tells other processes on this machine where we are. */
  announce(info: Pick<RunInfo, 'url'>): void;
}

const EMBEDDED_STOP_MS = 2_500;
const EMBEDDED_POSTGRES = 'Postgres (embedded)';
const EMBEDDED_MODELS = 'embedded model server (llama.cpp)';
const EMBEDDED_VECTORS = 'embedded vector store (sqlite-vec)';

/** Whether everything is configured, so that nothing has to be embedded. */
function isComplete({ database, models, vectors, auth, encryptionKey }: Config): boolean {
  return Boolean(database.url && models.hosts && (vectors.url || !vectors.enabled) && auth.secret && encryptionKey);
}

/**
 * Takes what is configured. `sutazai start` has the rest started, `api` and `worker` share that of a `sutazai start` on this machine.
 * What is missing, or has the data directory, is told at once: before a port that is taken, because a second start is to hear of the first.
 * @returns what starts the rest, once it is known that the address of the API is free
 */
export function findServices(config: Config, mode: Mode, stack: Stack, log: Logger): () => Promise<Services> {
  const open = mode === 'start' && !isComplete(config) ? takeHome(config, stack, log) : shareServices(config);
  return async () => {
    if (mode !== 'worker') await tryToListen({ server: 'api', ...config.http });
    return open();
  };
}

function takeHome(config: Config, stack: Stack, log: Logger): () => Promise<Services> {
  const home = openHome(config.dataDir);
  stack.defer('the data directory', () => home.close());
  return () => startMissing(config, home, stack, log);
}

function shareServices(config: Config): () => Services {
  const services = isComplete(config) ? configured(config) : joinStart(config);
  return () => services;
}

async function startMissing(config: Config, home: Home, stack: Stack, log: Logger): Promise<Services> {
  const [database, models, vectors] = await settleAll([
    config.database.url ? undefined : embeddedPostgres(config, home, stack, log),
    config.models.hosts ? undefined : embeddedModels(config, stack, log),
    config.vectors.enabled && !config.vectors.url ? embeddedVectors(config, stack, log) : undefined,
  ]);
  const databaseUrl = config.database.address ?? (database as string);
  const ollamaHosts = config.models.hosts ?? [(models as ChildServer).url];
  const qdrantUrl = config.vectors.enabled ? (config.vectors.url ?? (vectors as ChildServer).url) : undefined;
  return {
    ...kinds(config),
    databaseUrl,
    ollamaHosts,
    qdrantUrl,
    secrets: secretsOf(config, home.secrets),
    adminPassword: home.secrets.ADMIN_PASSWORD,
    announce: ({ url }) =>
      home.writeRunInfo({
        pid: process.pid,
        url,
        databaseUrl: currentUrl(databaseUrl),
        ollamaHost: ollamaHosts.join(','),
        qdrantUrl,
      }),
  };
}

function joinStart(config: Config): Services {
  const run = findRun(config.dataDir);
  if (!run) throw new UsageError(missingSettings(config));
  return {
    ...kinds(config),
    databaseUrl: config.database.address ?? run.databaseUrl,
    ollamaHosts: config.models.hosts ?? run.ollamaHost.split(','),
    qdrantUrl: config.vectors.enabled ? (config.vectors.url ?? run.qdrantUrl) : undefined,
    secrets: secretsOf(config, loadSecrets(config.dataDir)),
    adminPassword: undefined,
    apiUrl: run.url,
    announce: () => {},
  };
}

function missingSettings({ database, models, vectors, auth, encryptionKey, dataDir }: Config): string {
  const settings = {
    DATABASE_URL: database.url,
    JWT_SECRET_KEY: auth.secret,
    ENCRYPTION_KEY: encryptionKey,
    OLLAMA_HOST: models.hosts,
    QDRANT_URL: vectors.enabled ? vectors.url : 'off',
  };
  const missing = Object.entries(settings).flatMap(([name, value]) => (value === undefined ? [name] : []));
  return `${missing.join(', ')} ${missing.length > 1 ? 'are' : 'is'} not set, and no \`sutazai start\` runs on ${dataDir} whose embedded parts and secrets could be shared. Set them, or run \`npm start\` first.`;
}

function configured(config: Config): Services {
  return {
    ...kinds(config),
    databaseUrl: config.database.address as DatabaseAddress,
    ollamaHosts: config.models.hosts as readonly string[],
    qdrantUrl: config.vectors.enabled ? config.vectors.url : undefined,
    secrets: { JWT_SECRET_KEY: config.auth.secret as string, ENCRYPTION_KEY: config.encryptionKey as string },
    adminPassword: undefined,
    announce: () => {},
  };
}

function secretsOf(config: Config, local: LocalSecrets): Services['secrets'] {
  return {
    JWT_SECRET_KEY: config.auth.secret ?? local.JWT_SECRET_KEY,
    ENCRYPTION_KEY: config.encryptionKey ?? local.ENCRYPTION_KEY,
  };
}

function kinds({ database, models, vectors }: Config) {
  return {
    databaseKind: database.url ? 'Postgres' : EMBEDDED_POSTGRES,
    databaseSource: database.url ? 'DATABASE_URL (or POSTGRES_*)' : 'the embedded Postgres',
    modelsKind: models.hosts ? 'Ollama' : EMBEDDED_MODELS,
    vectorsKind: vectors.url ? 'Qdrant' : EMBEDDED_VECTORS,
  };
}

// Imported where they are used: production installs do not have what these parts are made of.

async function embeddedPostgres({ dataDir }: Config, home: Home, stack: Stack, log: Logger): Promise<string> {
  const { startPostgres } = await import('./embedded/postgres.ts');
  const postgres = await startPostgres({
    dataDir: `${dataDir}/postgres`,
    password: home.secrets.POSTGRES_PASSWORD,
    restart: true,
    log,
  });
  // It goes on stopping by itself where that takes longer.
  stack.defer(EMBEDDED_POSTGRES, () => postgres.close(), EMBEDDED_STOP_MS);
  return postgres.url;
}

async function embeddedModels(
  { cacheDir, modelsDir, logLevel, logFormat, models }: Config,
  stack: Stack,
  log: Logger,
): Promise<ChildServer> {
  const { startChild } = await import('./embedded/child.ts');
  const { parallel } = models.slots;
  const options = { cacheDir: `${cacheDir}/models`, modelsDir, logLevel, logFormat, parallel };
  const server = await startChild('model server', new URL('./embedded/models/main.ts', import.meta.url), options, log);
  stack.defer(EMBEDDED_MODELS, () => server.close(), EMBEDDED_STOP_MS);
  return server;
}

async function embeddedVectors(
  { dataDir, logLevel, logFormat }: Config,
  stack: Stack,
  log: Logger,
): Promise<ChildServer> {
  const { startChild } = await import('./embedded/child.ts');
  const options = { dataDir: `${dataDir}/vectors`, logLevel, logFormat };
  const server = await startChild('vector store', new URL('./embedded/vectors/main.ts', import.meta.url), options, log);
  stack.defer(EMBEDDED_VECTORS, () => server.close(), EMBEDDED_STOP_MS);
  return server;
}

/** Waits for all, so that what did start is on the stack when one of them fails. */
async function settleAll<T extends readonly unknown[]>(
  promises: T,
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  const results = await Promise.allSettled(promises);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
  return results.map((result) => (result as PromiseFulfilledResult<unknown>).value) as {
    -readonly [K in keyof T]: Awaited<T[K]>;
  };
}

/** The database alone, for commands that need nothing else: configured, that of a running `sutazai start`, or embedded. */
export async function migrationDatabase(
  config: Config,
  stack: Stack,
  log: Logger,
): Promise<{ url: DatabaseAddress; source: string }> {
  const { databaseSource: source } = kinds(config);
  if (config.database.address) return { url: config.database.address, source };
  const running = findRun(config.dataDir);
  if (running) return { url: running.databaseUrl, source };
  const home = openHome(config.dataDir);
  stack.defer('the data directory', () => home.close());
  return { url: await embeddedPostgres(config, home, stack, log), source };
}

const RESOLVE_TIMEOUT_MS = 5_000;

/** Asks the model host and the vector store once. @throws UsageError that names the variable to look at */
export async function checkUpstreams(models: ModelClient, vectors: VectorClient | undefined): Promise<void> {
  await models.ping(AbortSignal.timeout(RESOLVE_TIMEOUT_MS)).catch((error) => {
    throw new UsageError(
      `Ollama cannot be used (${errorCode(error) ?? errorMessage(error)}): look at OLLAMA_HOST. Is the server up? \`curl $OLLAMA_HOST/api/version\` shows it.`,
      { cause: error },
    );
  });
  await vectors?.ping(AbortSignal.timeout(RESOLVE_TIMEOUT_MS)).catch((error) => {
    throw new UsageError(
      `Qdrant cannot be used (${errorCode(error) ?? errorMessage(error)}): look at QDRANT_URL, QDRANT_API_KEY and for https QDRANT_CA_FILE, or set ENABLE_VECTOR_SEARCH=false.`,
      { cause: error },
    );
  });
}
