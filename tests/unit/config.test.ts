import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterAll, describe, expect, it } from 'vitest';
import { loadConfig, readDotEnv } from '../../src/config.ts';
import { UsageError } from '../../src/errors.ts';
import { LANES } from '../../src/tasks/lanes.ts';
import { problemsOf } from '../support/config-problems.ts';

const KEY = Buffer.alloc(32, 1).toString('base64');
const PRODUCTION = {
  NODE_ENV: 'production',
  JWT_SECRET_KEY: 'x'.repeat(32),
  ENCRYPTION_KEY: KEY,
  DATABASE_URL: 'postgres://u:p@db/sutazai',
  OLLAMA_HOST: 'ollama:11434',
  QDRANT_URL: 'http://qdrant:6333',
};

describe('the configuration', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sutazai-config-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };

  it('has a default for everything', () => {
    expect(loadConfig({})).toMatchObject({
      production: false,
      logLevel: 'info',
      dataDir: resolve('.data'),
      http: { host: '127.0.0.1', port: 3000, publicUrl: undefined, maxBodyBytes: 1_048_576 },
      database: { url: undefined, poolMax: 4 },
      queue: { backend: 'postgres', redisUrl: undefined, prefix: 'sutazai', keepCompleted: 1000, keepFailed: 5000 },
      auth: { algorithm: 'HS256', accessSeconds: 1800, refreshSeconds: 604_800, bcryptCost: 12, registration: 'open' },
      models: { hosts: undefined, allowed: [], autoPull: false },
      vectors: { enabled: true },
      monitoring: { enabled: true },
      egressAllow: [],
      worker: { lanes: LANES, leaseSeconds: 20, graceSeconds: 30 },
    });
  });

  it('cannot be changed afterwards', () => {
    const config = loadConfig({});
    expect(() => Object.assign(config.auth, { registration: 'closed' })).toThrow(TypeError);
    expect(() => (config.worker.lanes as string[]).push('x')).toThrow(TypeError);
  });

  it('takes an empty variable for one that is not set', () => {
    expect(loadConfig({ PORT: '', DATABASE_URL: '', EGRESS_ALLOW: '' })).toEqual(loadConfig({}));
  });

  it('names every wrong variable at once, what was given and what is wanted', () => {
    const problems = problemsOf({
      PORT: '70000',
      LOG_LEVEL: 'loud',
      BCRYPT_COST: '3',
      WORKER_LANES: 'llm,fast',
      QUEUE_BACKEND: 'kafka',
    });
    expect(problems).toHaveLength(5);
    expect(problems).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^PORT="70000": wants a whole number from 0 to 65535\. ./),
        expect.stringMatching(/^LOG_LEVEL="loud": wants one of trace, debug/),
        expect.stringMatching(/^BCRYPT_COST="3": wants a whole number from 4 to 15/),
        expect.stringMatching(/^WORKER_LANES="llm,fast": wants some of llm, embed/),
        expect.stringMatching(/^QUEUE_BACKEND="kafka": wants one of redis, postgres/),
      ]),
    );
  });

  it('says that .env is none where it is a folder, as Docker makes one where it mounts a file that is not there', () => {
    expect(() => readDotEnv(folder)).toThrow(UsageError);
    expect(() => readDotEnv(folder)).toThrow(`The settings in ${folder} cannot be read`);
    expect(() => readDotEnv(join(folder, 'nowhere'))).not.toThrow();
  });

  it('never prints a secret, only how long it is', () => {
    const secrets = {
      JWT_SECRET_KEY: 'tops3cret',
      ENCRYPTION_KEY: 'tops3cret',
      ADMIN_PASSWORD: 'tops3cret',
      DATABASE_URL: 'tops3cret',
      REDIS_URL: 'tops3cret',
    };
    const problems = problemsOf({ ...secrets, PORT: 'x' });
    expect(problems).toHaveLength(6);
    expect(problems.join()).not.toContain('tops3cret');
    expect(problems.join()).toContain('JWT_SECRET_KEY=(9 characters)');
  });

  it.each([
    ['http://k:s3cret@127.0.0.1:1', 'QDRANT_URL="…@127.0.0.1:1"'],
    ['http://s3cret@127.0.0.1', 'QDRANT_URL="…@127.0.0.1"'],
    ['k:s3/cr@s3cret@127.0.0.1:1', 'QDRANT_URL="…@127.0.0.1:1"'],
    ['https://qdrant.example.com/?api-key=s3cret', 'QDRANT_URL="https://qdrant.example.com/?…"'],
    ['https://qdrant.example.com/#', 'QDRANT_URL="https://qdrant.example.com/#"'],
  ])('shows %j without who logs in', (given, shown) => {
    const problems = problemsOf({ QDRANT_URL: given }).join();
    expect(problems).toContain(shown);
    expect(problems).not.toContain('s3cr');
  });

  it('reads secrets from files, which win over the environment, and only secrets', () => {
    const path = file('key', `${'k'.repeat(40)}\n`);
    expect(loadConfig({ JWT_SECRET_KEY_FILE: path }).auth.secret).toBe('k'.repeat(40));
    expect(loadConfig({ JWT_SECRET_KEY_FILE: path, JWT_SECRET_KEY: 'e'.repeat(40) }).auth.secret).toBe('k'.repeat(40));
    expect(loadConfig({ PORT_FILE: path }).http.port).toBe(3000);
  });

  it('says which secret file cannot be read, and does not show what a wrong one holds', () => {
    expect(problemsOf({ JWT_SECRET_KEY_FILE: join(folder, 'none') })).toEqual([
      `JWT_SECRET_KEY_FILE=${join(folder, 'none')}: cannot be read (ENOENT)`,
    ]);
    const [problem] = problemsOf({ JWT_SECRET_KEY_FILE: file('short', 'tops3cret') });
    expect(problem).toMatch(/^JWT_SECRET_KEY=\(9 characters\)/);
  });

  it('wants each secret and each address in production, and names those that are missing', () => {
    expect(problemsOf({ NODE_ENV: 'production' }).map((line) => line.split(' ')[0])).toEqual([
      ...['JWT_SECRET_KEY', 'ENCRYPTION_KEY', 'DATABASE_URL', 'OLLAMA_HOST', 'QDRANT_URL'],
    ]);
    expect(loadConfig(PRODUCTION)).toMatchObject({ production: true, auth: { registration: 'closed' } });
    expect(loadConfig({ ...PRODUCTION, QDRANT_URL: '', ENABLE_VECTOR_SEARCH: 'false' }).vectors.enabled).toBe(false);
    expect(loadConfig({ ...PRODUCTION, DATABASE_URL: '', POSTGRES_HOST: 'db' }).database.url).toContain('@db:5432');
  });

  it.each(Object.keys(PRODUCTION).slice(1))(
    'refuses production without %s, and names it beside other mistakes',
    (name) => {
      expect(problemsOf({ ...PRODUCTION, [name]: '' })).toEqual([expect.stringMatching(`^${name} is not set`)]);
      expect(problemsOf({ ...PRODUCTION, [name]: '', PORT: 'x' })).toHaveLength(2);
    },
  );

  it('says once what is wrong with a secret that is too short for production', () => {
    expect(problemsOf({ ...PRODUCTION, JWT_SECRET_KEY: 'short' })).toEqual([
      expect.stringMatching(/^JWT_SECRET_KEY=\(5 characters\)/),
    ]);
  });

  it.each(['simple', 'p@ss:w/o?r#d', '%41%zz', 'quo\'te"s & spaces', 'ünïcödé ☃', '[::1]@evil/', '\\back$slash'])(
    'hands on the password %j whole, to Postgres and to Redis',
    (password) => {
      const { database, queue } = loadConfig({
        ...{
          POSTGRES_HOST: 'db',
          POSTGRES_PORT: '5433',
          POSTGRES_DB: 'my db',
          POSTGRES_USER: 'us:er@x',
          POSTGRES_PASSWORD: password,
        },
        ...{ REDIS_HOST: 'cache', REDIS_PORT: '6380', REDIS_PASSWORD: password },
      });
      const client = new pg.Client({ connectionString: database.url });
      expect([client.host, client.port, client.database, client.user, client.password]).toEqual([
        'db',
        5433,
        'my db',
        'us:er@x',
        password,
      ]);
      const { options } = new Redis(queue.redisUrl ?? '', { lazyConnect: true });
      expect([options.host, options.port, options.password]).toEqual(['cache', 6380, password]);
      expect(queue.backend).toBe('redis');
    },
  );

  it('takes an IPv6 address as a host', () => {
    const { database, queue } = loadConfig({ POSTGRES_HOST: 'fd00::5', REDIS_HOST: '::1' });
    expect([database.url, queue.redisUrl]).toEqual(['postgres://sutazai@[fd00::5]:5432/sutazai', 'redis://[::1]:6379']);
  });

  it('prefers a whole URL to its parts, and the backend that is named to the one that could be', () => {
    const given = {
      DATABASE_URL: 'postgres://a/b',
      POSTGRES_HOST: 'c',
      REDIS_URL: 'redis://d',
      REDIS_HOST: 'e',
      QUEUE_BACKEND: 'postgres',
    };
    expect(loadConfig(given)).toMatchObject({
      database: { url: 'postgres://a/b' },
      queue: { redisUrl: 'redis://d', backend: 'postgres' },
    });
  });

  it('says what the redis backend lacks', () => {
    expect(problemsOf({ QUEUE_BACKEND: 'redis' })).toEqual([expect.stringContaining('needs REDIS_URL')]);
  });
});
