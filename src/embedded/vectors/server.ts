import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import type { Logger } from '../../log.ts';
import { createApp } from './app.ts';
import { openDatabase } from './database.ts';

/** How long requests that are under way get to finish when the store closes, in milliseconds. */
const CLOSE_DEADLINE = 5_000;

export type VectorStoreOptions = {
  /** Where to listen; 127.0.0.1 unless told. */
  host?: string;
  /** The port; 0, the default, takes a free one. */
  port?: number;
  /** The folder of the data. One process at a time can have it. */
  dataDir: string;
  /** When set, requests must bring it in the header `api-key` or as a bearer token. */
  apiKey?: string;
  log: Logger;
};

export type VectorStore = {
  /** Where it listens, such as http://127.0.0.1:6333. */
  url: string;
  /** Refuses new requests, lets those under way finish, closes the file. Calling it again waits for the same end. */
  close(): Promise<void>;
};

/**
 * Starts the embedded vector store: the part of Qdrant's REST API this project uses, over one SQLite file.
 * Its SQL blocks the thread it runs on, so give it a process of its own (`main.ts`).
 * Rejects when the folder is in use, the file is of a newer version, or the port is taken.
 */
export async function startVectorStore(options: VectorStoreOptions): Promise<VectorStore> {
  const { host = '127.0.0.1', port = 0, dataDir, apiKey, log } = options;
  const db = openDatabase(dataDir);
  let closed: Promise<void> | undefined;
  const app = createApp({ db, log, apiKey, isClosing: () => closed !== undefined });
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  // Clients keep a connection after its last answer; a closing server would wait for each of them in vain.
  server.on('request', (_request, response) =>
    response.once('close', () => {
      if (closed) server.closeIdleConnections();
    }),
  );
  try {
    await listen(server, host, port);
  } catch (error) {
    db.close();
    throw error;
  }
  const url = urlOf(server.address() as AddressInfo);
  log.info({ url, dataDir }, 'vector store listens');
  return {
    url,
    close() {
      closed ??= stop(server).then(() => {
        db.close();
        log.info({ url }, 'vector store closed');
      });
      return closed;
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function stop(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const deadline = setTimeout(() => server.closeAllConnections(), CLOSE_DEADLINE);
    server.close(() => {
      clearTimeout(deadline);
      resolve();
    });
    server.closeIdleConnections();
  });
}

function urlOf({ address, family, port }: AddressInfo): string {
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}
