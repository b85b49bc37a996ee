import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineBench, machine, quantile, table } from '../bench.ts';
import { part, whole } from '../options.ts';
import type { Build } from '../rig/builds.ts';
import { requestOf, sendLoad } from '../rig/load.ts';
import { startModel } from '../rig/model.ts';
import { openProduct } from '../rig/product.ts';
import { cpuOf, rssMb, used } from '../rig/usage.ts';

/** So often something is asked on a connection that stays: the API closes one on which nothing was for 65 s. */
const ASK_EVERY_MS = 45_000;
const AT_A_TIME = 100;

const HELD = { 'readers of events': holdStreams, 'connections that stay': holdOpen };

const USAGE = {
  about:
    'What very many connections cost on which nothing happens: readers of the events of tasks that wait, and connections that stay',
  options: {
    connections: whole(10_000, 'connections'),
    seconds: whole(60, 'how long they are held'),
    only: part(Object.keys(HELD), 'kinds'),
  },
};

export const bench = defineBench(USAGE, async ({ connections: count, seconds, only }) => {
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-bench-'));
  const model = await startModel(folder);
  const rows = [['connections', 'held', 'for s', 'API MB', 'KB each', 'cores of the API', 'submit p50 ms', 'p99 ms']];
  let good = true;
  try {
    console.log(`${machine()}, Postgres 18 from npm.\n`);
    for (const [name, hold] of Object.entries(HELD)) {
      if (!name.includes(only)) continue;
      const product = await openProduct({
        ...{ folder, model, backend: 'redis' },
        env: { MAX_STREAMS: '0', MAX_STREAMS_PER_USER: '0' },
      });
      try {
        const pid = product.processes.api[0] as number;
        await submit(product, 200);
        const before = rssMb(pid);
        const held = await hold(product, count);
        const cpu = cpuOf({ api: [pid] });
        await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
        const cores = used(cpu, cpuOf({ api: [pid] })).api / seconds / 1000;
        const mb = rssMb(pid);
        const times = await submit(product, 500);
        good &&= held.open() === count;
        rows.push([
          ...[name, held.open().toLocaleString('en'), `${seconds}`, mb.toFixed(0)],
          ...[(((mb - before) * 1024) / count).toFixed(1), cores.toFixed(2)],
          ...[quantile(times, 0.5).toFixed(1), quantile(times, 0.99).toFixed(1)],
        ]);
        held.close();
      } finally {
        await product.close();
      }
    }
    console.log(table(rows));
    return good;
  } finally {
    await model.close();
    await rm(folder, { recursive: true, force: true });
  }
});

interface Held {
  /** How many are open still. */
  open(): number;
  close(): void;
}

/** Each reads the events of a task that starts tomorrow. */
async function holdStreams(product: Build, count: number): Promise<Held> {
  const ids: string[] = [];
  const body = JSON.stringify({ type: 'echo', input: { message: 'x' }, delay_seconds: 86_400 });
  await sendLoad({
    ...{ url: product.urls[0] as string, connections: 8 },
    next: () => (ids.length < count ? requestOf('POST', product.path, headersOf(product), body) : undefined),
    onAnswer: (text) => ids.push((JSON.parse(text) as { id: string }).id),
  });
  return openAll(product, count, (number) =>
    requestOf('GET', `${product.path}/${ids[number]}/events`, headersOf(product)),
  );
}

/** Each asks for something now and then. */
async function holdOpen(product: Build, count: number): Promise<Held & { timer: NodeJS.Timeout }> {
  const ask = requestOf('GET', '/healthz', {});
  const held = await openAll(product, count, () => ask);
  let turn = 0;
  const parts = 45;
  const timer = setInterval(() => {
    turn = (turn + 1) % parts;
    for (let at = turn; at < held.sockets.length; at += parts) held.sockets[at]?.write(ask);
  }, ASK_EVERY_MS / parts);
  return {
    ...held,
    timer,
    close() {
      clearInterval(timer);
      held.close();
    },
  };
}

async function openAll(product: Build, count: number, requestFor: (number: number) => Buffer) {
  const { hostname, port } = new URL(product.urls[0] as string);
  const sockets: Socket[] = [];
  let closed = 0;
  for (let at = 0; at < count; at += AT_A_TIME)
    await Promise.all(
      Array.from({ length: Math.min(AT_A_TIME, count - at) }, async (_, index) => {
        const socket = connect({ host: hostname, port: Number(port) });
        socket.on('error', () => {}).on('close', () => closed++);
        sockets.push(socket);
        socket.write(requestFor(at + index));
        const [first] = await new Promise<[Buffer]>((resolve) => socket.once('data', (chunk) => resolve([chunk])));
        if (!first.toString('latin1').startsWith('HTTP/1.1 200')) throw new Error(first.toString());
        socket.on('data', () => {});
      }),
    );
  return {
    sockets,
    open: () => sockets.length - closed,
    close() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

const headersOf = ({ tokens }: Build) => ({ authorization: `Bearer ${tokens[0]}`, 'content-type': 'application/json' });

/** Milliseconds that submissions take, one after the other on each of a few connections. */
async function submit(product: Build, count: number): Promise<number[]> {
  const request = requestOf('POST', product.path, headersOf(product), product.body(5));
  let sent = 0;
  const { times, wrong } = await sendLoad({
    ...{ url: product.urls[0] as string, connections: 4 },
    next: () => (sent++ < count ? request : undefined),
  });
  if (wrong) throw new Error(wrong);
  return times;
}
