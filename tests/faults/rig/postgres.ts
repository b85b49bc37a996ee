import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { startPostgres } from '../../../src/embedded/postgres.ts';
import { createLog } from '../../../src/log.ts';
import { startProxy, type TcpProxy } from './proxy.ts';
import { until } from './wait.ts';

/** A Postgres of the rig's own, with a proxy before it. */
export interface RigPostgres {
  /** What the product connects to, through the proxy. */
  url: string;
  proxy: TcpProxy;
  /** Runs a statement past the proxy, on a connection of its own. */
  query<R extends pg.QueryResultRow = Record<string, unknown>>(text: string, values?: unknown[]): Promise<R[]>;
  /** `SIGQUIT` is an immediate stop (no checkpoint, as after a crash), `SIGKILL` a crash of the postmaster, `SIGSTOP` a freeze of all its processes. */
  signal(signal: 'SIGQUIT' | 'SIGKILL' | 'SIGINT' | 'SIGSTOP' | 'SIGCONT'): Promise<void>;
  /** Starts it again after it was stopped. */
  start(): Promise<void>;
  alive(): Promise<boolean>;
  folder: string;
  close(): Promise<void>;
}

const PASSWORD = 'rig';

/** A process of Postgres may end between being listed and being told. */
function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Starts it on a copy of the cluster in `template`, where there is one. */
export async function startRigPostgres(options: {
  folder: string;
  template?: string;
  settings?: Record<string, string>;
}): Promise<RigPostgres> {
  const { folder, template, settings = {} } = options;
  await mkdir(dirname(folder), { recursive: true });
  if (template && !existsSync(join(folder, 'cluster')))
    execFileSync('cp', ['-a', '--reflink=auto', `${template}/.`, `${folder}/`]);
  let direct = '';
  let pool: pg.Pool | undefined;

  async function start(): Promise<string> {
    const server = await startPostgres({
      dataDir: folder,
      password: PASSWORD,
      log: createLog('silent'),
      settings: { log_lock_waits: 'off', ...settings },
    });
    direct = server.url;
    pool = new pg.Pool({
      connectionString: direct,
      max: 4,
      application_name: 'rig',
      connectionTimeoutMillis: 5_000,
      // The rig can write also while the product cannot.
      options: '-c default_transaction_read_only=off',
    });
    pool.on('error', () => {});
    pool.on('connect', (client) => client.on('error', () => {}));
    return direct;
  }
  const port = () => Number(new URL(direct).port);
  const pids = () => {
    const file = join(folder, 'cluster', 'postmaster.pid');
    const pid = existsSync(file) ? Number(readFileSync(file, 'utf8').split('\n')[0]) : 0;
    if (!pid) return [];
    const list = `/proc/${pid}/task/${pid}/children`;
    const children = existsSync(list) ? readFileSync(list, 'utf8').trim().split(' ').filter(Boolean) : [];
    return [pid, ...children.map(Number)];
  };
  await start();
  const proxy = await startProxy(port());
  const through = Object.assign(new URL(direct), { port: String(proxy.port) });
  return {
    url: through.href,
    proxy,
    folder,
    async query(text, values) {
      return (await (pool as pg.Pool).query(text, values)).rows;
    },
    async signal(signal) {
      const all = pids();
      if (signal === 'SIGSTOP' || signal === 'SIGCONT') {
        for (const pid of all) send(pid, signal);
        return;
      }
      if (!pool?.ending) await pool?.end();
      process.kill(all[0] as number, signal);
      // Its children notice by themselves that a killed postmaster is gone.
      await until('the end of Postgres', () => all.every((pid) => !existsSync(`/proc/${pid}`)), 20_000);
    },
    async start() {
      await start();
      proxy.aim(port());
    },
    async alive() {
      const client = new pg.Client({ connectionString: direct, connectionTimeoutMillis: 2_000 });
      client.on('error', () => {});
      // A server that is starting up or recovering refuses too, but its process is there.
      const answered = await client.connect().then(
        () => true,
        (error: { code?: string }) => error.code === '57P03',
      );
      await client.end().catch(() => {});
      return answered;
    },
    async close() {
      await proxy.close();
      // It waits for statements that run, which the stop below ends.
      const closed = pool?.ending ? undefined : pool?.end();
      const [pid] = pids();
      if (!pid || !existsSync(`/proc/${pid}`)) return;
      for (const each of pids()) send(each, 'SIGCONT');
      send(pid, 'SIGQUIT');
      await until('the end of Postgres', () => !existsSync(`/proc/${pid}`), 20_000);
      await closed;
    },
  };
}
