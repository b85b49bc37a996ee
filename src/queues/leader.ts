import type pg from 'pg';
import type { Logger } from '../log.ts';

/** Spells `sutr`; whoever holds it in Postgres leads. */
const LEADER_LOCK = 0x73757472;
/** The lock of a leader that was cut off would stay with its session, so a silent session is to end, where Postgres can that. */
const TAKE = `select pg_try_advisory_lock($1) as got, (select set_config(name, '60s', false) from pg_settings where name = 'idle_session_timeout')`;

/** The office of the one process that repairs: an advisory lock, on a connection of its own. */
export interface Leadership {
  /** Whether this process leads now; takes the office where it is free. @throws when the database does not answer */
  hold(): Promise<boolean>;
  resign(): void;
}

/** @param onTaken told when this process begins to lead */
export function createLeadership(pool: pg.Pool, onTaken: () => void, log: Logger): Leadership {
  let leader: pg.PoolClient | undefined;

  function stepDown(client: pg.PoolClient): void {
    if (leader !== client) return;
    leader = undefined;
    client.release(true);
  }

  async function take(): Promise<boolean> {
    const client = await pool.connect();
    const { rows } = await client.query<{ got: boolean }>(TAKE, [LEADER_LOCK]).catch((error) => {
      client.release(true);
      throw error;
    });
    if (!rows[0]?.got) {
      client.release();
      return false;
    }
    client.once('error', () => stepDown(client));
    leader = client;
    log.debug('leading the reconciler');
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
