import type pg from 'pg';
import type { Logger } from '../log.ts';

/** An office that one process has at a time: whoever holds its lock in Postgres. */
export interface Office {
  name: string;
  lock: number;
  /** The lock of a leader that was cut off would stay with its session, so a silent session is to end, where Postgres can that. */
  silentSeconds: number;
}

/** Repairs. Spells `sutr`. */
export const RECONCILER: Office = { name: 'the reconciler', lock: 0x73757472, silentSeconds: 60 };
/** Lets tasks come to the front of their lanes; asked after every second. Spells `sutf`. */
export const ADMITTER: Office = { name: 'the admitter', lock: 0x73757466, silentSeconds: 10 };

const TAKE = `select pg_try_advisory_lock($1) as got, (select set_config(name, $2, false) from pg_settings where name = 'idle_session_timeout')`;

/** An office: an advisory lock, on a connection of its own. */
export interface Leadership {
  /** Whether this process leads now; takes the office where it is free. @throws when the database does not answer */
  hold(): Promise<boolean>;
  resign(): void;
}

/** @param onTaken told when this process begins to lead */
export function createLeadership(pool: pg.Pool, office: Office, onTaken: () => void, log: Logger): Leadership {
  let leader: pg.PoolClient | undefined;

  function stepDown(client: pg.PoolClient): void {
    if (leader !== client) return;
    leader = undefined;
    client.release(true);
  }

  async function take(): Promise<boolean> {
    const client = await pool.connect();
    const { rows } = await client
      .query<{ got: boolean }>(TAKE, [office.lock, `${office.silentSeconds}s`])
      .catch((error) => {
        client.release(true);
        throw error;
      });
    if (!rows[0]?.got) {
      client.release();
      return false;
    }
    client.once('error', () => stepDown(client));
    leader = client;
    log.debug(`leading ${office.name}`);
    onTaken();
    return true;
  }

  return {
    async hold() {
      if (!leader) return take();
      // The lock went with the connection: ask it before acting on the word of it.
      await leader.query('select 1');
      return true;
    },
    resign() {
      if (leader) stepDown(leader);
    },
  };
}
