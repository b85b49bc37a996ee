import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * What a relay does with connections. `stall` holds all bytes back until the mode changes, as a frozen server does;
 * `blackhole` swallows them without a word, and a connection that was open meanwhile stays dead, as behind a firewall that
 * forgot it; `reset` breaks what is open and refuses what is new.
 */
export type RelayMode = 'pass' | 'stall' | 'blackhole' | 'reset' | { delayMs: number } | { bytesPerSecond: number };

/** A TCP relay in front of a server, which can fail as networks and servers do. */
export interface Relay {
  /** The same URL through the relay. */
  url: string;
  set(mode: RelayMode): void;
  /** Breaks all connections and refuses new ones. */
  cut(): void;
  /** Lets connections through again. */
  mend(): void;
  /** How many connections clients hold at present. */
  connections(): number;
  close(): Promise<void>;
}

/** Starts it. @param target the URL of the server behind it */
export async function startRelay(target: string): Promise<Relay> {
  const { hostname, port } = new URL(target);
  const pairs = new Set<{ near: Socket; far: Socket; dead: boolean }>();
  let mode: RelayMode = 'pass';
  let changed = () => {};
  let change = new Promise<void>((resolve) => {
    changed = resolve;
  });

  /** What stands between a piece and its way on; a late one does not hold up the reading of the next. */
  async function pump(pair: { dead: boolean }, from: Socket, to: Socket): Promise<void> {
    let sent = Promise.resolve();
    for await (const piece of from) {
      const late = typeof mode === 'object' && 'delayMs' in mode ? sleep(mode.delayMs) : undefined;
      sent = sent.then(() => late).then(() => write(pair, piece, to));
      if (!late) await sent;
    }
    await sent;
    while (mode === 'stall') await change;
    if (pair.dead) from.destroy();
    else to.end();
  }

  async function write(pair: { dead: boolean }, piece: Buffer, to: Socket): Promise<void> {
    while (mode === 'stall') await change;
    // A slow one sends small parts all the time, so that both sides see that it is slow and not gone.
    const rate = typeof mode === 'object' && 'bytesPerSecond' in mode ? mode.bytesPerSecond : undefined;
    const step = rate ? Math.ceil(rate / 10) : piece.length;
    for (let at = 0; at < piece.length && !pair.dead && !to.destroyed; at += step) {
      const part = piece.subarray(at, at + step);
      if (rate) await sleep((part.length * 1_000) / rate);
      if (!to.write(part) && !to.destroyed) await drained(to);
    }
  }

  const server = createServer({ allowHalfOpen: true }, (near) => {
    if (mode === 'reset') return near.resetAndDestroy();
    const far = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
    const pair = { near, far, dead: mode === 'blackhole' };
    pairs.add(pair);
    near.once('close', () => {
      pairs.delete(pair);
      far.destroy();
    });
    far.once('close', () => {
      if (!pair.dead) near.destroy();
    });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', () => {});
      pump(pair, from, to).catch(() => to.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(target);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);

  function set(next: RelayMode): void {
    mode = next;
    for (const pair of pairs) {
      if (next === 'blackhole') pair.dead = true;
      if (next === 'reset') pair.near.resetAndDestroy();
    }
    changed();
    change = new Promise((resolve) => {
      changed = resolve;
    });
  }
  return {
    url: url.href,
    set,
    cut: () => set('reset'),
    mend: () => set('pass'),
    connections: () => pairs.size,
    close: () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      set('reset');
      return closed;
    },
  };
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      socket.off('drain', done).off('close', done);
      resolve();
    };
    socket.on('drain', done).on('close', done);
  });
}
