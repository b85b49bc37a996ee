import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Relay, startRelay } from '../support/relay.ts';
import { until } from '../support/until.ts';

let server: Server;
let relay: Relay;
beforeEach(async () => {
  server = createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  relay = await startRelay(`tcp://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
afterEach(async () => {
  await relay.close();
  await new Promise((resolve) => server.close(resolve));
});

async function dial(): Promise<{ socket: Socket; heard: () => string }> {
  const socket = connect(Number(new URL(relay.url).port), '127.0.0.1');
  socket.on('error', () => {});
  let heard = '';
  socket.setEncoding('utf8').on('data', (piece) => {
    heard += piece;
  });
  await once(socket, 'connect');
  return { socket, heard: () => heard };
}

/** A round trip over another connection: what had to arrive by now has. */
async function roundTrip(): Promise<void> {
  const probe = await dial();
  probe.socket.write('?');
  await until('the probe is back', () => probe.heard() === '?');
  probe.socket.destroy();
}

it('passes bytes on, both ways and in order, and ends with the client', async () => {
  const { socket, heard } = await dial();
  for (let n = 0; n < 100; n++) socket.write(`${n},`);
  await until('all are back', () => heard() === Array.from({ length: 100 }, (_, n) => `${n},`).join(''));
  expect(relay.connections()).toBe(1);
  socket.end();
  await once(socket, 'close');
  await until('it is forgotten', () => relay.connections() === 0);
});

it('a stalled one delivers later, a blackhole never, and each lets new connections through afterwards', async () => {
  const stalled = await dial();
  relay.set('stall');
  stalled.socket.write('later');
  relay.mend();
  await until('it came', () => stalled.heard() === 'later');

  relay.set('blackhole');
  const during = await dial();
  for (const { socket } of [stalled, during]) socket.write('never');
  relay.mend();
  await roundTrip();
  expect([stalled.heard(), during.heard()]).toEqual(['later', '']);
  expect([stalled.socket.destroyed, during.socket.destroyed]).toEqual([false, false]);
  stalled.socket.destroy();
  during.socket.destroy();
});

it('a reset one breaks connections, a slow one is slow', async () => {
  const { socket } = await dial();
  const closed = new Promise((resolve) => socket.once('close', resolve));
  relay.set('reset');
  await closed;
  relay.set({ delayMs: 50 });
  let started = performance.now();
  await roundTrip();
  expect(performance.now() - started).toBeGreaterThanOrEqual(99);
  relay.set({ bytesPerSecond: 1_000 });
  const slow = await dial();
  started = performance.now();
  slow.socket.write('x'.repeat(100));
  await until('all came', () => slow.heard().length === 100);
  expect(performance.now() - started).toBeGreaterThanOrEqual(190);
  slow.socket.destroy();
});
