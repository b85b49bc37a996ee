import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import pino from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTracing } from '../../src/telemetry/otlp.ts';
import { inSpan } from '../../src/telemetry/tracing.ts';

/** What the collector does with the next message. */
let answer: (response: ServerResponse) => void;
let asked = 0;
const server = createServer((request, response) => {
  asked++;
  request.resume().once('end', () => answer(response));
});
beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

it('a collector that does not take traces is spoken of once each time, and holds up no end', async () => {
  const lines: Array<{ level: number; msg: string }> = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const said = () => lines.filter(({ level }) => level >= 30).map(({ msg }) => msg);
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const stop = startTracing({ endpoint, headers: {}, service: 'test', ratio: 1, mode: 'api', log });
  const span = () =>
    inSpan(
      () => ({ name: 'x', kind: 'internal' }),
      async () => {},
    );

  answer = (response) => response.writeHead(400).end();
  for (const times of [1, 2]) {
    await span();
    await expect.poll(() => [asked, lines.length], { timeout: 5_000 }).toEqual([times, times]);
  }
  expect(said()).toEqual(['traces could not be sent']);
  answer = (response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  await span();
  await expect.poll(() => said().at(-1), { timeout: 5_000 }).toBe('traces are sent again');

  let isLeft = false;
  answer = (response) => void response.once('close', () => (isLeft = true));
  await span();
  await stop();
  expect(isLeft).toBe(false);
  expect(said()).toEqual(['traces could not be sent', 'traces are sent again', 'traces could not be sent']);
});
