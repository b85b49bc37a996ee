import type { Server } from 'node:http';
import { serve } from '@hono/node-server';
import type { Config } from '../config.ts';
import { listenError } from '../listening.ts';
import type { Logger } from '../log.ts';
import type { App } from './app.ts';
import { limitConnections } from './connections.ts';
import { boundRequests } from './request-time.ts';

/** The API on a socket. */
export interface ApiServer {
  /** Where it listens, such as `http://127.0.0.1:3000`. */
  url: string;
  /** Takes no new connections, waits up to `graceMs` for answers under way, then cuts the rest. */
  close(graceMs: number): Promise<void>;
}

/** Slow clients are cut off: headers within 10 s, by a look every 5 s; the whole request as `boundRequests` says. */
const HEADERS_TIMEOUT_MS = 10_000;
const LOOK_EVERY_MS = 5_000;
const KEEP_ALIVE_MS = 65_000;
/** While it closes. */
const IDLE_LOOK_MS = 100;
/** A connection on which nothing moves, such as that of a client that does not read its answer; longer than any answer is held but those that `holdOpen`. */
const STILL_MS = 120_000;

interface Options extends Pick<Config['http'], 'host' | 'port' | 'maxConnectionsPerAddress' | 'trustedProxies'> {
  /** How long nothing may move on a connection; {@link STILL_MS} by default. */
  stillMs?: number;
  /** How long a request that brings no file may take to come. */
  requestMs?: number;
  log: Logger;
}

/** Starts to listen. @throws UsageError when the port cannot be opened, naming the variable to change */
export async function listen(app: App, options: Options): Promise<ApiServer> {
  const { host, port, maxConnectionsPerAddress, trustedProxies, log } = options;
  const server = await new Promise<Server>((resolve, reject) => {
    const serverOptions = {
      headersTimeout: HEADERS_TIMEOUT_MS,
      // It knows one time for all requests, in which no large file comes through a slow line.
      requestTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: LOOK_EVERY_MS,
      maxHeaderSize: 16_384,
    };
    const starting = serve({ fetch: app.fetch, hostname: host, port, serverOptions }, () =>
      resolve(starting as Server),
    ) as Server;
    starting.on('error', (error: NodeJS.ErrnoException) => {
      // Once it listens, an error is one of a single connection, such as no descriptor left for it.
      if (starting.listening) log.warn({ err: error }, 'a connection could not be taken');
      else reject(listenError(error.code, { server: 'api', host, port }));
    });
    starting.setTimeout(options.stillMs ?? STILL_MS);
    boundRequests(starting, options.requestMs);
    limitConnections(starting, { max: maxConnectionsPerAddress, proxies: trustedProxies, log });
  });
  const address = server.address();
  const actual = typeof address === 'object' && address ? address.port : port;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${actual}`,
    close: (graceMs) =>
      new Promise((resolve) => {
        const timer = setTimeout(() => server.closeAllConnections(), graceMs);
        // An answer that began before was promised a connection that stays; once it has ended, that only holds the end up.
        const idle = setInterval(() => server.closeIdleConnections(), IDLE_LOOK_MS);
        server.close(() => {
          clearTimeout(timer);
          clearInterval(idle);
          resolve();
        });
        server.closeIdleConnections();
      }),
  };
}
