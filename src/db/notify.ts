import pg from 'pg';
import { repeat } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import { currentUrl, type DatabaseAddress, openPatiently } from './address.ts';
import { createSockets, LIVELINESS } from './sockets.ts';

type Listener = (payload: string) => void;

/** One connection that listens to Postgres notifications for the whole process. */
export interface Notifications {
  /** Hears a channel until the returned function is called. */
  on(channel: string, listener: Listener): () => void;
  /** Called after every connect from now on: what was said in between is lost and has to be looked up. */
  onConnect(listener: () => void): () => void;
  /** Whether it hears at this moment. */
  connected(): boolean;
  close(): Promise<void>;
}

const RETRY_MS = 500;
/** A listening connection says nothing by itself, so it is asked whether it still lives. */
const PING_EVERY_MS = 2_000;
const ANSWER_TIMEOUT_MS = 3_000;

/** Opens the connection and keeps it open: when it breaks, another one takes its place and hears the same channels. */
export async function openNotifications(
  url: DatabaseAddress,
  channels: string[],
  log: Logger,
  pingEveryMs = PING_EVERY_MS,
): Promise<Notifications> {
  const listeners = new Map<string, Set<Listener>>(channels.map((channel) => [channel, new Set()]));
  const connectListeners = new Set<() => void>();
  let connected = false;
  const sockets = createSockets();
  let hangUp = async () => {};
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  async function connect(): Promise<void> {
    const next = new pg.Client({
      connectionString: currentUrl(url),
      application_name: 'sutazai:notify',
      connectionTimeoutMillis: ANSWER_TIMEOUT_MS,
      query_timeout: ANSWER_TIMEOUT_MS,
      ...LIVELINESS,
      stream: sockets.open,
    });
    // While it opens, connect() itself fails; a second chain of reconnects must not start beside that.
    let open = false;
    let stopPings = async () => {};
    const end = () => {
      open = false;
      connected = false;
      void stopPings();
      return next.end();
    };
    const onBreak = (error?: unknown) => {
      if (!open) return;
      end().catch(() => {});
      if (closed) return;
      log.warn({ err: error }, 'the notification connection broke; opening another');
      timer = setTimeout(() => void reconnect(), RETRY_MS);
    };
    next.on('error', onBreak);
    next.on('end', () => onBreak());
    next.on('notification', ({ channel, payload }) => {
      for (const listener of listeners.get(channel) ?? []) listener(payload ?? '');
    });
    try {
      await next.connect();
      for (const channel of channels) await next.query(`listen ${pg.escapeIdentifier(channel)}`);
    } catch (error) {
      next.end().catch(() => {});
      throw error;
    }
    if (closed) {
      await next.end().catch(() => {});
      return;
    }
    open = true;
    connected = true;
    stopPings = repeat(pingEveryMs, async () => void (await next.query('select 1')), onBreak);
    hangUp = end;
    for (const listener of connectListeners) listener();
  }

  async function reconnect(): Promise<void> {
    if (closed) return;
    await openPatiently(url, connect).catch(() => {
      timer = setTimeout(() => void reconnect(), RETRY_MS);
    });
  }

  await openPatiently(url, connect);
  return {
    on(channel, listener) {
      const known = listeners.get(channel);
      if (!known)
        throw new Error(`nobody listens to the channel ${channel}; add it where the notifications are opened`);
      known.add(listener);
      return () => known.delete(listener);
    },
    onConnect(listener) {
      connectListeners.add(listener);
      return () => connectListeners.delete(listener);
    },
    connected: () => connected,
    async close() {
      closed = true;
      connected = false;
      clearTimeout(timer);
      await sockets.end(hangUp());
    },
  };
}
