import { once } from 'node:events';
import { Socket } from 'node:net';
import { within } from '../lifecycle.ts';

/** The sockets of some database connections. */
export interface Sockets {
  /** What pg calls for the socket of a new connection. */
  open(): Socket;
  /** Cuts those that have heard nothing for so long. */
  cutSilent(sinceMs: number): void;
  /** Lets `goodbye` end them all, and cuts what is left after a moment: a server that is silent never says goodbye. */
  end(goodbye: Promise<unknown>): Promise<void>;
}

const GOODBYE_TIMEOUT_MS = 300;

/** What every connection of ours is opened with: both sides notice within half a minute that the other one is gone without a word. */
export const LIVELINESS = {
  keepAlive: true,
  keepAliveInitialDelayMillis: 10_000,
  options: '-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3',
} as const;

/** Makes an empty set. */
export function createSockets(): Sockets {
  /** When each last heard something. */
  const sockets = new Map<Socket, number>();
  const closed = () => Promise.all([...sockets.keys()].map((socket) => once(socket, 'close')));
  return {
    open() {
      const socket = new Socket();
      const heard = () => sockets.set(socket, performance.now());
      heard();
      socket.on('data', heard);
      socket.once('close', () => sockets.delete(socket));
      return socket;
    },
    cutSilent(sinceMs) {
      const cut = () => {
        for (const [socket, heardAt] of sockets) if (heardAt <= performance.now() - sinceMs) socket.destroy();
      };
      // What came while this process was busy lies unread, and is read first: the sockets are looked at anew before the second of these.
      setImmediate(() => setImmediate(cut));
    },
    async end(goodbye) {
      await within(goodbye.then(closed), GOODBYE_TIMEOUT_MS, 'the database').catch(() => {});
      for (const socket of sockets.keys()) socket.destroy();
    },
  };
}
