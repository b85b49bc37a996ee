import { createConnection, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { startWorkerHere } from '../support/run-here.ts';
import { type EventReader, readEvents } from '../support/sse.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
const readers: EventReader[] = [];
const sockets: Socket[] = [];
afterEach(async () => {
  for (const reader of readers.splice(0)) reader.close();
  for (const socket of sockets.splice(0)) socket.destroy();
  await world.close();
});

async function follow(client: Client, id: string): Promise<EventReader> {
  const reader = await readEvents(`${world.url}/api/v1/tasks/${id}/events`, {
    authorization: `Bearer ${client.token}`,
  });
  readers.push(reader);
  return reader;
}
const waiting = async (client: Client) => (await client.submit('echo', { message: 'x' }, { delay_seconds: 600 })).id;

describe('event streams', () => {
  it('are so many of a user, so many of a process, and free again once they are closed', async () => {
    world = await createWorld({ env: { MAX_STREAMS: '3', MAX_STREAMS_PER_USER: '2' } });
    const [client, other] = [await world.client(), await world.client()];
    const id = await waiting(client);
    const path = `/api/v1/tasks/${id}/events`;
    const [first] = [await follow(client, id), await follow(client, id)];
    const refused = await client.request('GET', path);
    expect(refused.status).toBe(429);
    expect(refused.body).toMatchObject({ code: 'quota-exceeded', 'violated-policies': ['open-streams'] });
    expect(refused.headers.get('retry-after')).toBe('5');
    const theirs = await waiting(other);
    expect((await follow(other, theirs)).status).toBe(200);
    const full = await other.request('GET', `/api/v1/tasks/${theirs}/events`);
    expect(full.status).toBe(503);
    expect(full.body).toMatchObject({ code: 'temporary-reduced-capacity' });
    // Whoever asks for the head, or may not ask at all, takes no place.
    first?.close();
    await until('a place is free', async () => (await client.request('HEAD', path)).status === 200);
    await client.request('HEAD', path);
    expect((await follow(client, id)).status).toBe(200);
  });

  it('are cut off where the reader takes nothing, while the others go on', { timeout: 60_000 }, async () => {
    world = await createWorld({ env: { WORKER_LANES: 'webhook', MAX_OUTPUT_BYTES: '60000000' } });
    const worker = await startWorkerHere(world);
    const client = await world.client();
    const { id } = await client.submit('echo', { message: 'x' });
    const quick = await follow(client, id);
    const { hostname, port } = new URL(world.url);
    const slow = createConnection(Number(port), hostname);
    sockets.push(slow);
    let begun = false;
    let tail = '';
    slow.on('error', () => {});
    slow.once('data', () => {
      begun = true;
      slow.pause();
    });
    slow.write(`GET /api/v1/tasks/${id}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${client.token}\r\n\r\n`);
    await until('the slow reader has begun', () => begun);
    const part = 'x'.repeat(100_000);
    let said = 0;
    let told = () => {};
    const isTold = new Promise<void>((resolve) => {
      told = resolve;
    });
    const work = worker.run(id, async (tools) => {
      // As fast as the quick one takes it; the sockets of the other hold some megabytes before it counts as slow.
      while (said < 8_000_000) {
        tools.emit(part);
        said += part.length;
        await until('the quick reader follows', () => textOf(quick) > said - 400_000, { withinMs: 20_000 });
      }
      slow.on('data', (chunk) => {
        tail = (tail + chunk.toString('latin1')).slice(-2_000);
      });
      slow.resume();
      await isTold;
    });
    await until('the slow one is told', () => tail.includes('event: problem'), { withinMs: 20_000 });
    expect(tail).toContain('"code":"quota-exceeded"');
    told();
    await work;
    expect(await quick.ended).toMatchObject({ status: 'completed' });
    expect(quick.text()).toHaveLength(said);
    expect(quick.named('problem')).toEqual([]);
    await worker.close();
  });

  it('do not hold a process up that stops, not even by a reader that takes nothing', async () => {
    world = await createWorld();
    const client = await world.client();
    const id = await waiting(client);
    const other = await world.join('api', { SHUTDOWN_GRACE_SECONDS: '20' });
    const reader = await readEvents(`${other.url}/api/v1/tasks/${id}/events`, {
      authorization: `Bearer ${client.token}`,
    });
    await reader.until('the beginning', () => true);
    const started = performance.now();
    await other.close();
    expect(performance.now() - started).toBeLessThan(3_000);
    expect(await reader.ended).toBeUndefined();
    expect(reader.comments.at(-1)).toContain('connect again');
  });
});

const counted = new WeakMap<EventReader, { events: number; units: number }>();
/** How much text has come, without adding all of it up each time. */
function textOf(reader: EventReader): number {
  const known = counted.get(reader) ?? { events: 0, units: 0 };
  for (; known.events < reader.events.length; known.events++)
    known.units += String(reader.events[known.events]?.data.text ?? '').length;
  counted.set(reader, known);
  return known.units;
}
