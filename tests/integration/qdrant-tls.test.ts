import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { createVectorClient } from '../../src/clients/qdrant.ts';
import { createLog } from '../../src/log.ts';
import { createWorld } from '../support/world.ts';

const file = (name: string) => new URL(`../support/tls/${name}`, import.meta.url);
const caFile = fileURLToPath(file('ca.pem'));
const log = createLog('silent');
const { signal } = new AbortController();
const KEY = 'the key of the store';

let server: Server;
let url: string;
/** A vector store behind a TLS of its own authority, below a path, that wants a key. */
beforeAll(async () => {
  const target = new URL(inject('qdrantUrl'));
  const tls = { key: readFileSync(file('server.key')), cert: readFileSync(file('server.pem')) };
  server = createServer(tls, (asked, response) => {
    const { method, headers } = asked;
    response.setHeader('content-type', 'application/json');
    if (headers['api-key'] !== KEY || !asked.url?.startsWith('/vectors/')) {
      response.writeHead(403).end('{"status":{"error":"Forbidden"},"time":0}');
      return;
    }
    const { hostname, port } = target;
    const path = asked.url.slice('/vectors'.length);
    const passed = request({ hostname, port, method, path, headers: { ...headers, connection: 'close' } }, (answer) => {
      response.writeHead(answer.statusCode ?? 502);
      answer.pipe(response);
    });
    asked.pipe(passed);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `https://localhost:${(server.address() as AddressInfo).port}/vectors`;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

it('a store behind TLS of another authority is trusted where its certificate is given, and not otherwise', async () => {
  const trusting = createVectorClient({ url, apiKey: KEY, caFile, log });
  expect(await trusting.ping(signal)).toMatch(/^1\./);
  const name = `tls_${process.pid}`;
  await trusting.ensureCollection(name, 2, 'Dot');
  const id = '00000000-0000-5000-8000-000000000001';
  await trusting.upsert(name, [{ id, vector: [1, 2], payload: { a: 1 } }], signal);
  expect(await trusting.query(name, { vector: [1, 1], filter: {}, limit: 1 }, signal)).toMatchObject([{ score: 3 }]);
  await trusting.remove(name, { must: [{ has_id: [id] }] }, signal);
  expect(await trusting.count(name, {}, signal)).toBe(0);

  const stranger = createVectorClient({ url, apiKey: KEY, log });
  await expect(stranger.count(name, {}, signal)).rejects.toMatchObject({ code: 'upstream_protocol', retryable: true });
  const keyless = createVectorClient({ url, apiKey: 'another', caFile, log });
  await expect(keyless.count(name, {}, signal)).rejects.toMatchObject({ code: 'upstream_rejected' });
});

it('a file of certificates that is none stops the start, and is named', () => {
  for (const wrong of ['/nowhere.pem', fileURLToPath(import.meta.url)])
    expect(() => createVectorClient({ url, caFile: wrong, log })).toThrow(/QDRANT_CA_FILE/);
});

it('the product starts on it by its settings, and says what to look at where one is missing', async () => {
  const world = await createWorld({ env: { QDRANT_URL: url, QDRANT_API_KEY: KEY, QDRANT_CA_FILE: caFile } });
  await expect(world.join('start', { QDRANT_CA_FILE: '' })).rejects.toThrow(/Qdrant cannot be used .*QDRANT_CA_FILE/);
  const client = await world.client();
  const task = await client.runTask('vector.upsert', { collection: 'notes', points: [{ vector: [1, 2] }] });
  expect(task).toMatchObject({ status: 'completed' });
  expect((await client.request('GET', '/api/v1/collections/notes')).body).toMatchObject({ points: 1 });
  await world.close();
});
