import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/**
 * What the proxy does with bytes: `pass` them; `delay` each chunk; `throttle` to so many bytes a second; `blackhole`
 * keeps connections open, takes new ones and forwards nothing; `refuse` resets connections, new ones as well; `gone` does
 * so too, and nobody listens at the port any more.
 */
export type ProxyMode =
  | { kind: 'pass' }
  | { kind: 'delay'; ms: number }
  | { kind: 'throttle'; bytesPerSecond: number }
  | { kind: 'blackhole' }
  | { kind: 'refuse' }
  | { kind: 'gone' };

/** A watch on what clients send. */
export interface Trap {
  /** Looked for in the bytes from clients, across chunks. */
  pattern: RegExp;
  /**
   * `before`: the bytes that match are not forwarded; `after`: they are, and the server's answer is swallowed, so that
   * the work is done and nobody hears of it.
   */
  when: 'before' | 'after';
  /** Called once; the connection stays silent from then on. */
  spring: () => void | Promise<void>;
}

/** A TCP proxy before one server. */
export interface TcpProxy {
  port: number;
  set(mode: ProxyMode): void;
  /** Resets the connections that are open now; new ones are as the mode says. */
  reset(): void;
  /** The connections that are open now stay so and are silent for good, as behind a firewall that forgot them; new ones are as the mode says. */
  forget(): void;
  /** Where the server is now; connections that are open keep their old one. */
  aim(port: number): void;
  /** Sets a trap that springs once. Answers a promise of its springing. */
  trap(trap: Omit<Trap, 'spring'> & { spring?: Trap['spring'] }): Promise<void>;
  connections(): number;
  close(): Promise<void>;
}

const TAIL = 400;

/** Starts a proxy before `port` of this machine. */
export async function startProxy(port: number): Promise<TcpProxy> {
  const pairs = new Set<{ near: Socket; far: Socket; forgotten: boolean }>();
  let target = port;
  let mode: ProxyMode = { kind: 'pass' };
  let traps: Trap[] = [];

  function forward(pair: { forgotten: boolean }, from: Socket, to: Socket, inspect?: (chunk: Buffer) => boolean): void {
    let queue = Promise.resolve();
    from.on('data', (chunk: Buffer) => {
      if (pair.forgotten) return;
      if (inspect && !inspect(chunk)) return;
      if (mode.kind === 'pass') {
        queue = queue.then(() => void to.write(chunk));
        return;
      }
      if (mode.kind === 'blackhole') return;
      const ms =
        mode.kind === 'delay' ? mode.ms : (chunk.length / (mode as { bytesPerSecond: number }).bytesPerSecond) * 1000;
      from.pause();
      queue = queue
        .then(() => new Promise<void>((resolve) => setTimeout(resolve, ms)))
        .then(() => {
          to.write(chunk);
          from.resume();
        });
    });
  }

  const server = createServer((near) => {
    if (mode.kind === 'refuse' || mode.kind === 'gone') return void near.resetAndDestroy();
    const far = connect(target, '127.0.0.1');
    const pair = { near, far, forgotten: false };
    pairs.add(pair);
    let muted = false;
    let tail = '';
    const drop = () => {
      pairs.delete(pair);
      // A network that swallows everything swallows the end of a connection too.
      if (mode.kind === 'blackhole') return;
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) {
      socket.setNoDelay(true);
      socket.on('error', drop);
      socket.on('close', drop);
    }
    forward(pair, near, far, (chunk) => {
      if (muted) return false;
      if (traps.length === 0) return true;
      const text = tail + chunk.toString('latin1');
      tail = text.slice(-TAIL);
      const sprung = traps.find(({ pattern }) => pattern.test(text));
      if (!sprung) return true;
      traps = traps.filter((trap) => trap !== sprung);
      muted = true;
      if (sprung.when === 'before') {
        void sprung.spring();
        return false;
      }
      // The answer says that the work is done.
      far.removeAllListeners('data');
      far.once('data', () => void sprung.spring());
      far.write(chunk);
      return false;
    });
    forward(pair, far, near);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port: own } = server.address() as AddressInfo;

  /** Somebody's way out may have its port by now, for a moment. */
  function listenAgain(): void {
    server.once('error', () => setTimeout(() => mode.kind !== 'gone' && !server.listening && listenAgain(), 50));
    server.listen(own, '127.0.0.1', () => server.removeAllListeners('error'));
  }

  function reset(): void {
    for (const { near, far } of pairs) {
      near.resetAndDestroy();
      far.destroy();
    }
    pairs.clear();
  }

  return {
    port: own,
    set(next) {
      const healed = mode.kind === 'blackhole' && next.kind !== 'blackhole';
      mode = next;
      // What was swallowed is gone, so a connection that lived through it is out of step.
      if (healed || next.kind === 'refuse' || next.kind === 'gone') reset();
      if (next.kind === 'gone') server.close();
      else if (!server.listening) listenAgain();
    },
    reset,
    forget() {
      for (const pair of pairs) pair.forgotten = true;
    },
    aim(next) {
      target = next;
    },
    trap: ({ pattern, when, spring }) =>
      new Promise((resolve) => {
        traps.push({
          pattern,
          when,
          async spring() {
            await spring?.();
            resolve();
          },
        });
      }),
    connections: () => pairs.size,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      mode = { kind: 'refuse' };
      reset();
      await closed;
    },
  };
}
