import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { createDb, createPool, type Db } from '../../src/db/connect.ts';
import { createLog } from '../../src/log.ts';
import { open } from './open.ts';

export interface TestDatabase {
  url: string;
  db: Db;
  pool: pg.Pool;
  close(): Promise<void>;
}

/** A database of the test's own, cloned from the migrated template, or empty. */
export async function createTestDatabase({ empty = false } = {}): Promise<TestDatabase> {
  const name = `t_${randomBytes(6).toString('hex')}`;
  const template = new URL(inject('postgresUrl'));
  await admin(`create database ${name} template ${empty ? 'template0' : 'template'} strategy file_copy`);
  open.add(name);
  const url = Object.assign(new URL(template), { pathname: `/${name}` }).href;
  // What a test stores ahead may take longer than any statement of the product.
  const pool = createPool({ url, max: 6, name: 'test', log: createLog('silent'), statementMs: 120_000 });
  const db = createDb(pool);
  return {
    url,
    db,
    pool,
    async close() {
      await db.destroy();
      await admin(`drop database ${name} with (force)`);
      open.delete(name);
    },
  };
}

/** Two clones at once would find the template in use. */
async function admin(statement: string): Promise<void> {
  const client = new pg.Client({
    connectionString: Object.assign(new URL(inject('postgresUrl')), { pathname: '/postgres' }).href,
  });
  client.on('error', () => {});
  await client.connect();
  try {
    await client.query('select pg_advisory_lock(1)');
    await client.query(statement);
  } finally {
    await client.end();
  }
}
