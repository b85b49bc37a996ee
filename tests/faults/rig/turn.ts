import { createServer, type Server } from 'node:net';
import { lasting } from './wait.ts';

/** Any port will do that two runs on one machine have in common. */
const PORT = 47_113;

/**
 * Waits until no other run of the rig is under way on this machine, and holds the turn until the process ends: two runs
 * at once would spoil each other's times.
 */
export async function takeTurn(): Promise<void> {
  for (let told = false; ; told = true) {
    const server = await new Promise<Server | undefined>((resolve, reject) => {
      const trying = createServer().listen(PORT, '127.0.0.1', () => resolve(trying));
      trying.once('error', (error: NodeJS.ErrnoException) =>
        error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error),
      );
    });
    if (server) return void server.unref();
    if (!told) console.log('Another run is under way on this machine; waiting for its end …');
    await lasting(1_000);
  }
}
