import { resolve } from 'node:path';
import * as v from 'valibot';
import { inUrl, redisOf } from './config-redis.ts';
import { UsageError } from './errors.ts';
import { readSecret, readValues, type SecretFiles, type Values, wrongSettings } from './read-settings.ts';
import { SETTINGS } from './settings.ts';

/** Everything that the environment decides, checked and frozen. Made once by {@link loadConfig}. */
export type Config = ReturnType<typeof resolveConfig>;

/** Reads `.env` beside the working directory, if there is one; what the environment already holds wins. @throws UsageError where it cannot be read */
export function readDotEnv(path = '.env'): void {
  try {
    process.loadEnvFile(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return;
    throw new UsageError(
      `The settings in ${resolve(path)} cannot be read (${message}). Is it a file, and may this user read it?`,
      { cause: error },
    );
  }
}

/**
 * Turns the environment into the configuration.
 * @param databaseAlone whether the command needs the database only, so that production asks for nothing else
 * @throws UsageError that lists every wrong variable at once: its name, what was given and what is wanted
 */
export function loadConfig(
  env: Record<string, string | undefined> = process.env,
  { databaseAlone = false } = {},
): Config {
  const problems: string[] = [];
  const files: SecretFiles = {};
  const values = readValues(SETTINGS, env, files, problems);
  if (values.NODE_ENV === 'production') checkProduction(values, databaseAlone, problems);
  const config = problems.length === 0 ? resolveConfig(values as Values, files, problems) : undefined;
  if (!config || problems.length > 0) throw wrongSettings(problems);
  return config;
}

function resolveConfig(s: Values, files: SecretFiles, problems: string[]) {
  const production = s.NODE_ENV === 'production';
  const { redisUrl, redis } = redisOf(s, problems);
  const backend = s.QUEUE_BACKEND ?? (redisUrl ? 'redis' : 'postgres');
  if (backend === 'redis' && !redisUrl)
    problems.push('QUEUE_BACKEND=redis needs REDIS_URL, such as redis://127.0.0.1:6379');

  return deepFreeze({
    production,
    logLevel: s.LOG_LEVEL,
    logFormat: s.LOG_FORMAT,
    traces: {
      endpoint: s.OTEL_EXPORTER_OTLP_ENDPOINT,
      headers: s.OTEL_EXPORTER_OTLP_HEADERS,
      service: s.OTEL_SERVICE_NAME,
      ratio: s.OTEL_TRACES_SAMPLER_ARG,
    },
    dataDir: resolve(s.DATA_DIR),
    cacheDir: resolve(s.CACHE_DIR),
    modelsDir: resolve(s.MODELS_DIR),
    backupDir: s.BACKUP_DIR,
    http: {
      host: s.HOST,
      port: s.PORT,
      publicUrl: s.PUBLIC_URL?.replace(/\/$/, ''),
      maxBodyBytes: s.MAX_BODY_BYTES,
      maxConnectionsPerAddress: s.MAX_CONNECTIONS_PER_ADDRESS,
      trustedProxies: s.TRUSTED_PROXIES,
      corsOrigins: s.CORS_ORIGINS,
      docsOpen: (s.DOCS ?? (production ? 'closed' : 'open')) === 'open',
    },
    health: { port: s.HEALTH_PORT, host: s.HEALTH_HOST ?? s.HOST },
    database: { ...databaseOf(s, files), poolMax: s.DATABASE_POOL_MAX },
    queue: {
      backend,
      redisUrl,
      redis,
      prefix: s.QUEUE_PREFIX,
      keepCompleted: s.QUEUE_KEEP_COMPLETED,
      keepFailed: s.QUEUE_KEEP_FAILED,
      agingMs: s.PRIORITY_AGING_SECONDS * 1000,
      jobsMax: s.QUEUE_JOBS_MAX,
    },
    auth: {
      secret: s.JWT_SECRET_KEY,
      algorithm: s.JWT_ALGORITHM,
      issuer: s.JWT_ISSUER,
      audience: s.JWT_AUDIENCE,
      accessSeconds: s.ACCESS_TOKEN_EXPIRE_MINUTES * 60,
      refreshSeconds: s.REFRESH_TOKEN_EXPIRE_DAYS * 86_400,
      bcryptCost: s.BCRYPT_COST,
      registration: s.REGISTRATION ?? (production ? 'closed' : 'open'),
      adminEmail: s.ADMIN_EMAIL,
      adminPassword: s.ADMIN_PASSWORD,
    },
    /** In days; 0 is for ever. */
    retention: {
      completed: s.RETENTION_COMPLETED_DAYS,
      failed: s.RETENTION_FAILED_DAYS,
      cancelled: s.RETENTION_CANCELLED_DAYS,
      expired: s.RETENTION_EXPIRED_DAYS,
      payload: s.RETENTION_PAYLOAD_DAYS,
    },
    encryptionKey: s.ENCRYPTION_KEY,
    /** Keys that open what they sealed, and seal nothing. */
    otherEncryptionKeys: s.ENCRYPTION_KEY_PREVIOUS === undefined ? [] : [s.ENCRYPTION_KEY_PREVIOUS],
    limits: {
      /** Requests of an address that log in, register or refresh; 0 is no limit. */
      authPerMinute: s.AUTH_RATE_LIMIT_PER_MINUTE,
      /** Event streams open at a time in a process; 0 is no limit. */
      streams: { all: s.MAX_STREAMS, perUser: s.MAX_STREAMS_PER_USER },
      /** What everybody has; an administrator can give a user other limits. 0 is none. */
      user: {
        waiting_tasks: s.MAX_WAITING_TASKS_PER_USER,
        running_tasks: s.MAX_RUNNING_TASKS_PER_USER,
        tokens_per_day: s.MAX_TOKENS_PER_DAY_PER_USER,
        requests_per_minute: s.RATE_LIMIT_PER_MINUTE,
      },
    },
    /** Of one file, and of all files of a user; 0 is no limit. */
    files: { maxBytes: s.MAX_FILE_BYTES, maxUserBytes: s.MAX_STORED_BYTES_PER_USER },
    workflows: { window: s.WORKFLOW_WINDOW },
    batches: { maxLines: s.MAX_BATCH_LINES, window: s.BATCH_WINDOW },
    /** Schedules that a user may have; 0 is no limit. */
    maxSchedules: s.MAX_SCHEDULES_PER_USER,
    /** Agents that a user may have; 0 is no limit. */
    maxAgents: s.MAX_AGENTS_PER_USER,
    /** Stored workflows that a user may have; 0 is no limit. */
    maxWorkflows: s.MAX_WORKFLOWS_PER_USER,
    webhooks: { maxEndpoints: s.MAX_WEBHOOKS_PER_USER, overlapSeconds: s.WEBHOOK_SECRET_OVERLAP_HOURS * 3_600 },
    models: {
      hosts: s.OLLAMA_HOST,
      slots: { parallel: s.OLLAMA_NUM_PARALLEL, maxLoaded: s.OLLAMA_MAX_LOADED_MODELS },
      defaultModel: s.OLLAMA_DEFAULT_MODEL,
      fallbacks: s.OLLAMA_FALLBACK_MODELS,
      allowed: s.OLLAMA_MODELS,
      byRole: s.MODELS_BY_ROLE,
      embeddingModel: s.OLLAMA_EMBEDDING_MODEL,
      autoPull: s.OLLAMA_AUTO_PULL,
      affinityMs: s.MODEL_AFFINITY_SECONDS * 1_000,
      embeddingCacheBytes: s.EMBEDDING_CACHE_MB * 2 ** 20,
    },
    vectors: {
      enabled: s.ENABLE_VECTOR_SEARCH,
      url: s.QDRANT_URL,
      apiKey: s.QDRANT_API_KEY,
      caFile: s.QDRANT_CA_FILE,
      /** What a user may have; 0 is no limit. */
      most: {
        collections: s.MAX_COLLECTIONS_PER_USER,
        documents: s.MAX_DOCUMENTS_PER_USER,
        points: s.MAX_POINTS_PER_USER,
      },
    },
    monitoring: { enabled: s.ENABLE_MONITORING },
    enterprise: s.ENABLE_ENTERPRISE_FEATURES,
    egressAllow: s.EGRESS_ALLOW,
    worker: {
      lanes: s.WORKER_LANES,
      concurrency: s.WORKER_CONCURRENCY,
      leaseSeconds: s.LEASE_SECONDS,
      graceSeconds: s.SHUTDOWN_GRACE_SECONDS,
      maxOutputBytes: s.MAX_OUTPUT_BYTES,
    },
  });
}

/** Each of these that is missing is named, also when other settings are wrong at the same time. */
function checkProduction(s: Partial<Values>, databaseAlone: boolean, problems: string[]): void {
  const wanted: Array<[string, unknown, string]> = [
    ['JWT_SECRET_KEY', s.JWT_SECRET_KEY, 'make one with `openssl rand -base64 32`'],
    ['ENCRYPTION_KEY', s.ENCRYPTION_KEY, 'make one with `openssl rand -base64 32`'],
    [
      'DATABASE_URL',
      s.DATABASE_URL ?? s.POSTGRES_HOST,
      'such as postgres://user:password@host:5432/sutazai, or the POSTGRES_* variables',
    ],
    ['OLLAMA_HOST', s.OLLAMA_HOST, 'such as http://ollama:11434'],
    ['QDRANT_URL', s.QDRANT_URL ?? (s.ENABLE_VECTOR_SEARCH ? undefined : 'off'), 'or ENABLE_VECTOR_SEARCH=false'],
  ];
  for (const [name, value, hint] of wanted) {
    if (databaseAlone && name !== 'DATABASE_URL') continue;
    const wrong = problems.some((line) => line.startsWith(`${name}=`));
    if (value === undefined && !wrong) problems.push(`${name} is not set: production has no default for it; ${hint}`);
  }
}

/**
 * The database as it is now, its address for all the connections to come, and the file with its password where it is in one:
 * `urlOf` is the URL that a text in that file stands for.
 */
function databaseOf(s: Values, files: SecretFiles) {
  const name = s.DATABASE_URL ? 'DATABASE_URL' : 'POSTGRES_PASSWORD';
  const urlOf = (text?: string) =>
    name === 'DATABASE_URL' ? text : postgresUrl({ ...s, POSTGRES_PASSWORD: text || undefined });
  const url = s.DATABASE_URL || s.POSTGRES_HOST ? urlOf(s[name]) : undefined;
  const path = files[name];
  if (!url || !path) return { url, address: url, file: undefined };
  let last = url;
  const address = () => {
    try {
      const text = readSecret(path);
      if (v.is(SETTINGS[name].schema, text)) last = urlOf(text) ?? last;
    } catch {
      // A file that is away for a moment, or for good, is no reason to end: the database says whether the password still holds.
    }
    return last;
  };
  return { url, address, file: { path, holds: name, urlOf: urlOf as (text: string) => string } } as const;
}

function postgresUrl(s: Values): string {
  const url = new URL(`postgres://${inUrl(s.POSTGRES_HOST)}:${s.POSTGRES_PORT}/${encodeURIComponent(s.POSTGRES_DB)}`);
  url.username = encodeURIComponent(s.POSTGRES_USER);
  if (s.POSTGRES_PASSWORD) url.password = encodeURIComponent(s.POSTGRES_PASSWORD);
  return url.href;
}

function deepFreeze<T>(value: T): T {
  if (value && typeof value === 'object' && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
