import * as v from 'valibot';
import {
  baseUrl,
  encryptionKey,
  flag,
  host,
  integer,
  lanes,
  networks,
  oneOf,
  optionalText,
  type Setting,
  secretKey,
  setting,
  text,
  url,
} from './setting.ts';
import { CLIENT_SETTINGS } from './settings-client.ts';
import { LIMIT_SETTINGS } from './settings-limits.ts';
import { MODEL_SETTINGS } from './settings-models.ts';
import { REDIS_SETTINGS } from './settings-redis.ts';
import { RETENTION_SETTINGS } from './settings-retention.ts';
import { TELEMETRY_SETTINGS } from './settings-telemetry.ts';
import { LANES } from './tasks/lanes.ts';

/** Every environment variable that the product reads. `.env.example` is made from this table and a test holds them equal. */
export const SETTINGS = {
  NODE_ENV: setting(
    'General',
    v.optional(oneOf(['development', 'production', 'test']), 'development'),
    'production refuses default secrets and embedded parts',
  ),
  LOG_LEVEL: setting(
    'General',
    v.optional(oneOf(['trace', 'debug', 'info', 'warn', 'error', 'silent']), 'info'),
    'how much is logged',
  ),
  DATA_DIR: setting('General', v.optional(text, '.data'), 'where the embedded parts keep their data'),
  CACHE_DIR: setting(
    'General',
    v.optional(text, '.cache'),
    'where prepared model files are kept; may be deleted at any time',
  ),
  MODELS_DIR: setting('General', v.optional(text, 'models'), 'further *.gguf files for the embedded model server'),
  HOST: setting('HTTP', v.optional(host, '127.0.0.1'), 'the address the API listens on; 0.0.0.0 in a container'),
  PORT: setting('HTTP', v.optional(integer(0, 65535), '3000'), 'the port the API listens on; 0 takes a free one'),
  HEALTH_PORT: setting(
    'HTTP',
    v.optional(integer(0, 65535)),
    'a port on which any process, workers too, answers /healthz and /readyz, also while it is busy; off when empty',
    { example: '3001' },
  ),
  HEALTH_HOST: setting('HTTP', v.optional(host), 'the address of that port; HOST when empty', { example: '127.0.0.1' }),
  PUBLIC_URL: setting(
    'HTTP',
    v.optional(baseUrl('https://tasks.example.com')),
    'the address clients use, for links in answers; the request decides when empty',
    { example: 'https://tasks.example.com' },
  ),
  MAX_BODY_BYTES: setting('HTTP', v.optional(integer(1024, 104_857_600), '1048576'), 'the largest request body'),
  DOCS: setting(
    'HTTP',
    v.optional(oneOf(['open', 'closed'])),
    'who may open the pages below /docs: open is anybody, closed is any account; open, but closed in production',
    { example: 'open' },
  ),
  ...LIMIT_SETTINGS,
  ...RETENTION_SETTINGS,
  DATABASE_URL: setting(
    'Postgres',
    v.optional(url(['postgres:', 'postgresql:'], 'postgres://user:password@host:5432/sutazai')),
    'a Postgres to use; embedded when empty',
    { secret: true, example: 'postgres://sutazai:password@127.0.0.1:5432/sutazai' },
  ),
  BACKUP_DIR: setting(
    'Postgres',
    optionalText,
    'the folder of backups, for `sutazai backup` and `sutazai restore`; in production `sutazai migrate up` makes one there first',
    { example: '/backups' },
  ),
  DATABASE_POOL_MAX: setting(
    'Postgres',
    v.optional(integer(2, 100), '4'),
    'connections a process opens for its own statements',
  ),
  POSTGRES_HOST: setting('Postgres', v.optional(host), 'used with the four below where DATABASE_URL is empty', {
    example: 'sutazai-postgres',
  }),
  POSTGRES_PORT: setting('Postgres', v.optional(integer(1, 65535), '5432'), 'the port of POSTGRES_HOST'),
  POSTGRES_DB: setting('Postgres', v.optional(text, 'sutazai'), 'the name of the database'),
  POSTGRES_USER: setting('Postgres', v.optional(text, 'sutazai'), 'the name of the database user'),
  POSTGRES_PASSWORD: setting('Postgres', optionalText, 'the password of the database user', { secret: true }),
  QUEUE_BACKEND: setting(
    'Queues',
    v.optional(oneOf(['redis', 'postgres'])),
    'where BullMQ keeps its jobs; redis where one is named below, else postgres',
    { example: 'redis' },
  ),
  QUEUE_PREFIX: setting(
    'Queues',
    v.optional(v.pipe(text, v.regex(/^[a-z][a-z0-9_]{0,30}$/, 'wants a-z, 0-9 and _, a letter first')), 'sutazai'),
    'prefix of the keys in Redis',
  ),
  QUEUE_KEEP_COMPLETED: setting(
    'Queues',
    v.optional(integer(0, 100_000), '1000'),
    'completed jobs a lane keeps for the dashboard; results are in Postgres anyway',
  ),
  QUEUE_KEEP_FAILED: setting(
    'Queues',
    v.optional(integer(0, 100_000), '5000'),
    'failed jobs a lane keeps for the dashboard',
  ),
  PRIORITY_AGING_SECONDS: setting(
    'Queues',
    v.optional(integer(0, 604_800), '600'),
    'how much longer a task may wait, for each class of priority, than newer ones that are more urgent; 0 is strict',
  ),
  QUEUE_JOBS_MAX: setting(
    'Queues',
    v.optional(integer(0, 10_000), '2000'),
    'how many tasks of a lane have a job while they wait; the others wait in Postgres, and users take turns; 0 is all',
  ),
  ...REDIS_SETTINGS,
  JWT_SECRET_KEY: setting(
    'Identity',
    v.optional(secretKey),
    'signs access tokens until `sutazai secrets rotate jwt`; generated into DATA_DIR when empty, refused when empty in production',
    { secret: true },
  ),
  JWT_ALGORITHM: setting(
    'Identity',
    v.optional(oneOf(['HS256', 'HS384', 'HS512']), 'HS256'),
    'how access tokens are signed',
  ),
  JWT_ISSUER: setting('Identity', v.optional(text, 'sutazai'), 'the `iss` of access tokens'),
  JWT_AUDIENCE: setting('Identity', v.optional(text, 'sutazai-api'), 'the `aud` of access tokens'),
  ACCESS_TOKEN_EXPIRE_MINUTES: setting(
    'Identity',
    v.optional(integer(1, 1440), '30'),
    'how long an access token is good',
  ),
  REFRESH_TOKEN_EXPIRE_DAYS: setting(
    'Identity',
    v.optional(integer(1, 365), '7'),
    'how long a session can be refreshed',
  ),
  BCRYPT_COST: setting(
    'Identity',
    v.optional(integer(4, 15), '12'),
    'work factor of password hashes; 12 is about 250 ms of a core',
  ),
  REGISTRATION: setting(
    'Identity',
    v.optional(oneOf(['open', 'invite', 'closed'])),
    'who may make an account: anybody, whoever has an invitation, or nobody; open, but closed in production',
    { example: 'open' },
  ),
  ADMIN_EMAIL: setting(
    'Identity',
    v.optional(v.pipe(text, v.email('wants an e-mail address')), 'admin@localhost.localdomain'),
    'the first administrator, made when there is no user yet',
  ),
  ADMIN_PASSWORD: setting(
    'Identity',
    v.optional(v.pipe(text, v.minLength(12, 'wants at least 12 characters'))),
    'its password; generated and shown once when empty',
    { secret: true },
  ),
  ENCRYPTION_KEY: setting(
    'Identity',
    v.optional(encryptionKey),
    'encrypts stored secrets such as those of webhooks; generated into DATA_DIR when empty, refused when empty in production',
    { secret: true },
  ),
  ENCRYPTION_KEY_PREVIOUS: setting(
    'Identity',
    v.optional(encryptionKey),
    'opens what it encrypted and encrypts nothing: the key before, or the next one, while `sutazai secrets rotate encryption` is on its way',
    { secret: true },
  ),
  ...MODEL_SETTINGS,
  ENABLE_VECTOR_SEARCH: setting('Vectors', v.optional(flag, 'true'), 'false takes the vector task types away'),
  QDRANT_URL: setting(
    'Vectors',
    v.optional(baseUrl('http://127.0.0.1:6333')),
    'the Qdrant to use; embedded when empty',
    { example: 'http://127.0.0.1:6333' },
  ),
  QDRANT_CA_FILE: setting(
    'Vectors',
    optionalText,
    'a file with the certificate (PEM) of the authority that signed that of QDRANT_URL, where it is none of the usual ones',
    { example: '/etc/ssl/qdrant-ca.pem' },
  ),
  QDRANT_API_KEY: setting('Vectors', optionalText, 'the API key of Qdrant', { secret: true }),
  ...TELEMETRY_SETTINGS,
  ENABLE_ENTERPRISE_FEATURES: setting(
    'Operation',
    v.optional(flag, 'false'),
    'kept from the old system so that its files still load; there is one edition and it has everything',
  ),
  EGRESS_ALLOW: setting(
    'Operation',
    v.optional(networks, ''),
    'private addresses (CIDRs, IPs or host names) that users may call as webhooks or by http.request all the same, separated by commas',
    { example: '10.1.2.0/24,hooks.internal' },
  ),
  WORKER_LANES: setting(
    'Workers',
    v.optional(lanes, LANES.join(',')),
    'the lanes a worker serves, separated by commas',
  ),
  WORKER_CONCURRENCY: setting(
    'Workers',
    v.optional(integer(1, 1000)),
    'tasks a worker runs at a time in each lane; a figure per lane when empty',
    { example: '8' },
  ),
  LEASE_SECONDS: setting('Workers', v.optional(integer(2, 600), '20'), 'how long a silent worker keeps its tasks'),
  SHUTDOWN_GRACE_SECONDS: setting(
    'Workers',
    v.optional(integer(0, 3600), '30'),
    'how long running tasks may go on after SIGTERM',
  ),
  MAX_OUTPUT_BYTES: setting(
    'Workers',
    v.optional(integer(1024, 104_857_600), '8388608'),
    'the largest output of a task',
  ),
  ...CLIENT_SETTINGS,
} as const satisfies Record<string, Setting<v.GenericSchema<string | undefined, unknown>>>;

export type SettingName = keyof typeof SETTINGS;
