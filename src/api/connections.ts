import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { addressSet } from '../clients/addresses.ts';
import type { Logger } from '../log.ts';
import { networkOf, plainAddress } from './client-address.ts';

interface Options {
  /** How many connections one address may hold, of IPv6 one /64; 0 is no limit. */
  max: number;
  /** Proxies, behind which there are many clients; they may hold any number. */
  proxies: readonly string[];
  log: Logger;
}

const TELL_EVERY_MS = 60_000;

/** Closes a connection at once that is one too many of its address, so that nobody takes all memory and descriptors alone. */
export function limitConnections(server: Server, { max, proxies, log }: Options): void {
  if (max === 0) return;
  const isProxy = addressSet(proxies);
  const held = new Map<string, number>();
  let toldAt = Number.NEGATIVE_INFINITY;

  server.on('connection', (socket: Socket) => {
    const address = plainAddress(socket.remoteAddress ?? '');
    if (!address || isProxy(address)) return;
    const network = networkOf(address);
    const count = (held.get(network) ?? 0) + 1;
    if (count > max) {
      socket.destroy();
      if (performance.now() < toldAt + TELL_EVERY_MS) return;
      toldAt = performance.now();
      log.warn({ address: network, max }, 'an address holds as many connections as MAX_CONNECTIONS_PER_ADDRESS allows');
      return;
    }
    held.set(network, count);
    socket.once('close', () => {
      const left = (held.get(network) ?? 0) - 1;
      if (left > 0) held.set(network, left);
      else held.delete(network);
    });
  });
}
