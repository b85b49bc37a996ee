import { Kysely, PostgresDialect } from 'kysely';
import type pg from 'pg';
import type { Database } from '../../../src/db/schema.ts';

interface Plan {
  'Planning Time': number;
  'Execution Time': number;
}

/** A database of which each statement is also explained, and the sum of what Postgres needed. */
export interface Explained {
  db: Kysely<Database>;
  /** Milliseconds of planning and execution by `EXPLAIN (ANALYZE)`, and the statements, since the last call. */
  take(): { ms: number; statements: number };
  /** The plans of the statements since the last call of `take`, as text. */
  plans(): string[];
}

/** Every statement is run under `EXPLAIN (ANALYZE, FORMAT JSON)`, and then for its answer. */
export function explained(pool: pg.Pool): Explained {
  let ms = 0;
  let plans: string[] = [];
  const dialect = new PostgresDialect({
    pool: {
      options: pool.options,
      end: () => pool.end(),
      async connect() {
        const client = await pool.connect();
        const query = async (text: string, values: readonly unknown[]) => {
          if (/^\s*(select|with|update|insert)/i.test(text)) {
            const { rows } = await client.query(`explain (analyze, format json) ${text}`, [...values]);
            const [plan] = rows[0]['QUERY PLAN'] as [Plan];
            ms += plan['Planning Time'] + plan['Execution Time'];
            plans.push(`${text}\n${JSON.stringify(plan, null, 1)}`);
          }
          return client.query(text, [...values]);
        };
        return { query: query as never, release: () => client.release() };
      },
    },
  });
  return {
    db: new Kysely<Database>({ dialect }),
    take() {
      const taken = { ms, statements: plans.length };
      ms = 0;
      plans = [];
      return taken;
    },
    plans: () => plans,
  };
}
