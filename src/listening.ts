import { createServer } from 'node:net';
import { UsageError } from './errors.ts';

/** The servers of a process, and the variables that say where they listen. */
const SERVERS = {
  api: { host: 'HOST', port: 'PORT', usual: 3000 },
  health: { host: 'HEALTH_HOST (or HOST)', port: 'HEALTH_PORT', usual: 3001 },
};

/** Which server is to listen, and where. */
export interface Listening {
  server: keyof typeof SERVERS;
  host: string;
  port: number;
}

/** Opens a port and lets it go again. @throws UsageError where that fails, naming the variable to change */
export async function tryToListen(where: Listening): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error.code, where)));
    server.listen(where.port, where.host, () => server.close(() => resolve()));
  });
}

/** The last port that there is. */
const LAST_PORT = 65_535;

/** What it means that a port could not be opened: which variable to change, and to what. */
export function listenError(code: string | undefined, { server, host, port }: Listening): UsageError {
  const names = SERVERS[server];
  const address = `${names.host}=${host}`;
  const usual = 'Use 127.0.0.1, or 0.0.0.0 for all addresses of this machine.';
  switch (code) {
    case 'EADDRINUSE':
      return new UsageError(
        `Port ${port} on ${host} is in use. Stop what listens there, or choose another one: ${names.port}=${port < LAST_PORT ? port + 1 : port - 1}`,
      );
    case 'EACCES':
      return new UsageError(
        `Port ${port} may not be opened by this user. Choose one above 1023: ${names.port}=${names.usual}`,
      );
    case 'EADDRNOTAVAIL':
      return new UsageError(`${address} is not an address of this machine. ${usual}`);
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new UsageError(`${address} is neither an address nor a name that is known here (${code}). ${usual}`);
    default:
      return new UsageError(
        `Port ${port} on ${host} cannot be opened (${code}). Look at ${names.host} and ${names.port}.`,
      );
  }
}
