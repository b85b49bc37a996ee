import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Sink, startSink } from '../../support/sink.ts';
import { defineCase } from '../rig/case.ts';
import { EXPIRED, startExpired } from '../rig/expired.ts';
import type { Rig } from '../rig/rig.ts';
import { lasting, must, until } from '../rig/wait.ts';

const NAMES = fileURLToPath(new URL('../rig/names.mjs', import.meta.url));
const DAY_MS = 86_400_000;
/** After this long a worker knows which receivers hang. */
const SLOW_AFTER_MS = 5_000;

/** Receivers of webhooks that hang, break off, refuse, or lead somewhere else. */
export const webhookCases = [
  defineCase({
    id: 'F43',
    title: 'receivers that hang, drip, reset, fail, are gone or busy, or have an expired certificate',
    topology: { workers: 0 },
    async run(rig) {
      rig.mayMissWebhooks = true;
      const expired = await startExpired();
      const authority = join(rig.folder, 'expired.pem');
      await writeFile(authority, EXPIRED.cert);
      // The certificate is trusted, so that nothing is wrong with it but its time.
      for (const _ of [1, 2]) await rig.join('worker', { NODE_EXTRA_CA_CERTS: authority });
      const drips: NodeJS.Timeout[] = [];
      const ways: Record<string, (response: ServerResponse) => void> = {
        '/hang': () => {},
        '/drip': (response) => {
          response.writeHead(200);
          drips.push(setInterval(() => response.write('.'), 100));
        },
        '/reset': (response) => void response.socket?.resetAndDestroy(),
        '/fail': answer(500),
        '/gone': answer(410),
        '/busy': answer(429, { 'retry-after': '3600' }),
        '/busy-for-ever': answer(429, { 'retry-after': '8640000' }),
      };
      const sinks: Sink[] = [];
      try {
        const urls = [expired.url];
        for (const [path, way] of Object.entries(ways)) {
          const sink = await startSink();
          sinks.push(sink);
          sink.answer = (_, response) => way(response);
          urls.push(sink.url.replace('/hook', path));
        }
        await submit(rig, urls);
        await until('the second attempt of all that are tried again', async () => (await attempts(rig)) === 13, 90_000);
        await judgeAttempts(rig, expired.url);
        must(expired.requests() === 0, 'a receiver with an expired certificate was told');
      } finally {
        for (const drip of drips) clearInterval(drip);
        await Promise.all([expired, ...sinks].map((one) => one.close()));
      }
    },
  }),

  defineCase({
    id: 'F43',
    title: 'half of eight receivers hang, with 500 messages for them, and the others hear of their tasks all the same',
    async run(rig) {
      rig.mayMissWebhooks = true;
      const sinks = await Promise.all(Array.from({ length: 8 }, startSink));
      const [hanging, healthy] = [sinks.slice(0, 4), sinks.slice(4)];
      for (const sink of hanging) sink.answer = () => {};
      try {
        // Each message has a URL of its own, as those have that put an id into it.
        const urls = hanging.flatMap(({ url }) => Array.from({ length: 125 }, (_, n) => `${url}?n=${n}`));
        await submit(rig, urls);
        await until('every hanging receiver has a call', () => hanging.every(({ received }) => received.length > 0));
        const slow = await tell(rig, healthy, 10);
        await lasting(SLOW_AFTER_MS);
        const settled = await tell(rig, healthy, 50);
        rig.note(
          `40 messages for four healthy receivers arrived within ${slow} ms, and 200 later on within ${settled} ms`,
        );
        must(slow < 8_000, `healthy receivers waited ${slow} ms for their first messages`);
        must(settled < 4_000, `healthy receivers waited ${settled} ms`);
        for (const sink of hanging) sink.answer = undefined;
        const back = await until('word of nearly all', async () => (await delivered(rig)) > 700, 120_000);
        rig.note(`700 had arrived ${Math.round(back.tookMs / 1000)} s after the others were back`);
      } finally {
        for (const sink of sinks) await sink.close();
        rig.sink.received.push(...sinks.flatMap(({ received }) => received));
      }
    },
  }),

  defineCase({
    id: 'F44',
    title: 'receivers that lead to private addresses by redirect, by name, or by a way to write them',
    quick: true,
    topology: {
      env: { EGRESS_ALLOW: '127.0.0.0/8,::ffff:7f00:0/104' },
      workerEnv: { EGRESS_ALLOW: '127.0.0.1' },
      workerNodeArgs: ['--import', NAMES],
    },
    async run(rig) {
      rig.mayMissWebhooks = true;
      // What must never be reached. The workers may call 127.0.0.1 alone; the API, which stands for a mistake at the door, more.
      const inside = await startInside();
      const ways: Record<string, string> = {
        '/inside': `http://127.0.0.2:${inside.port}/`,
        '/metadata': 'http://169.254.169.254/latest/meta-data/',
        '/file': 'file:///etc/passwd',
        '/again': rig.sink.url.replace('/hook', '/again'),
      };
      const codes = [301, 302, 307, 308];
      rig.sink.answer = (n, response) => {
        const { path = '' } = rig.sink.received[n] ?? {};
        response.writeHead(codes[n % codes.length] ?? 302, { location: ways[path] ?? '/' }).end();
      };
      try {
        const redirects = Object.keys(ways).map((path) => rig.sink.url.replace('/hook', path));
        const hosts = ['127.0.0.2', '2130706434', '0x7f000002', '0177.0.0.2', '127.2', '[::ffff:127.0.0.2]'];
        const blocked = [...hosts, 'inside.test', 'INSIDE.test', 'rebound.test'].map(
          (host) => `http://${host}:${inside.port}/`,
        );
        await submit(rig, [...redirects, ...blocked]);
        const all = redirects.length + blocked.length;
        await until('an attempt of each', async () => (await logged(rig)).length >= all);
        for (const { url, status, attempt, error, answered } of await logged(rig)) {
          if (redirects.includes(url))
            must(error?.includes('Redirects are not followed') && answered >= 301, `${url}: ${status}, ${error}`);
          else
            must(
              status === 'failed' && attempt === 1 && answered === 0 && error?.includes('leads to a private address'),
              `${url} is ${status} after attempt ${attempt}: ${error}`,
            );
        }
        must(inside.connections() === 0, `there were ${inside.connections()} connections to a private address`);
        rig.note(`${all} receivers, none reached`);
      } finally {
        await inside.close();
      }
    },
  }),
];

function answer(code: number, headers: Record<string, string> = {}) {
  return (response: ServerResponse): void => void response.writeHead(code, headers).end();
}

/** Submits a task for each of these URLs. */
async function submit(rig: Rig, urls: string[]): Promise<void> {
  const tasks = urls.map((url) => ({ type: 'echo', input: { message: 'x' }, webhook: { url } }));
  await rig.client.load(tasks, { insist: true });
}

/** Submits so many tasks for each of these receivers; answers after how many milliseconds they had all heard. */
async function tell(rig: Rig, sinks: Sink[], each: number): Promise<number> {
  const before = sinks.map(({ received }) => received.length);
  await submit(
    rig,
    sinks.flatMap(({ url }) => Array<string>(each).fill(url)),
  );
  const asked = Date.now();
  const heard = () => sinks.every(({ received }, n) => received.length >= (before[n] ?? 0) + each);
  await until('the healthy receivers hear of all', heard, 60_000);
  return Date.now() - asked;
}

/** How many attempts are written down. */
async function attempts(rig: Rig): Promise<number> {
  const [row] = await rig.postgres.query<{ n: number }>(`select count(*)::int as n from delivery_attempts`);
  return row?.n ?? 0;
}

async function delivered(rig: Rig): Promise<number> {
  const [row] = await rig.postgres.query<{ n: number }>(
    `select count(*)::int as n from deliveries where status = 'delivered'`,
  );
  return row?.n ?? 0;
}

interface Logged {
  url: string;
  status: string;
  attempt: number;
  /** What the last attempt met: a status of HTTP (0 where there was none), an error, and how long it took. */
  answered: number;
  error: string | null;
  took_ms: number;
  /** From the end of the attempt before to the start of the last. */
  gap_ms: number | null;
  /** From the end of the last attempt to when the next one is due. */
  next_ms: number;
}

/** The deliveries that have been tried, with their last attempt. */
async function logged(rig: Rig): Promise<Logged[]> {
  return rig.postgres.query<Logged>(
    `select d.url, d.status, d.attempt, coalesce(a.status, 0)::int as answered, a.error, a.latency_ms as took_ms,
       (extract(epoch from a.at - b.at) * 1000)::int - a.latency_ms as gap_ms,
       (extract(epoch from d.ready_at - a.at) * 1000)::int as next_ms
     from deliveries d
     join delivery_attempts a on a.delivery_id = d.id and a.attempt = d.attempt
     left join delivery_attempts b on b.delivery_id = d.id and b.attempt = d.attempt - 1`,
  );
}

/** What must be true of each receiver of F43 after the second attempt. */
async function judgeAttempts(rig: Rig, expired: string): Promise<void> {
  const near = (value: number | null, least: number, room: number) =>
    value !== null && value >= least && value <= least + room;
  const tried = (one: Logged) =>
    one.status === 'pending' &&
    one.attempt === 2 &&
    near(one.gap_ms, 4_900, 8_000) &&
    near(one.next_ms, 300_000, 61_000);
  const silent = (one: Logged) => tried(one) && one.answered === 0 && near(one.took_ms, 14_900, 5_000);
  const wanted: Record<string, (one: Logged) => boolean> = {
    '/hang': silent,
    '/drip': silent,
    '/reset': (one) => tried(one) && one.answered === 0,
    '/fail': (one) => tried(one) && one.answered === 500,
    '/gone': (one) => one.status === 'failed' && one.attempt === 1 && one.answered === 410,
    '/busy': (one) => one.status === 'pending' && one.attempt === 1 && near(one.next_ms, 3_600_000, 2_000),
    '/busy-for-ever': (one) => one.status === 'pending' && one.attempt === 1 && near(one.next_ms, DAY_MS, 2_000),
    '/': (one) => one.url === expired && tried(one) && one.answered === 0 && /expired/i.test(one.error ?? ''),
  };
  for (const one of await logged(rig))
    must(wanted[new URL(one.url).pathname]?.(one), `not as it must be: ${JSON.stringify(one)}`);
}

/** A server on an address of this machine that nobody may reach. */
async function startInside(): Promise<{ port: number; connections: () => number; close(): Promise<void> }> {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.2', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => connections,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
