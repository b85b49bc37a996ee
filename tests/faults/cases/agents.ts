import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { AgentOrder } from '../rig/agent.ts';
import { defineCase } from '../rig/case.ts';
import type { Rig } from '../rig/rig.ts';
import { must, until } from '../rig/wait.ts';

/** How an agent answers a call; `first` where it is the first of its task. */
type Way = (response: ServerResponse, first: boolean) => boolean;

/** Far more than the two ends of a connection hold of what nobody has read. */
const UNREAD = 40 * 2 ** 20;

/** Agents that refuse, fail, break off, are busy, never stop, or answer what cannot be stored. */
export const agentCases = [
  defineCase({
    id: 'F25',
    title: 'agents that refuse for good',
    async run(rig) {
      const webhook = { url: rig.sink.url, events: ['task.failed'] };
      const ways = {
        bad: status(400),
        away: status(404),
        moved: (response: ServerResponse) => {
          response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data/' }).end();
          return true;
        },
      };
      await call(rig, ways, 20, { webhook });
      for (const row of await ended(rig))
        must(
          row.status === 'failed' && row.attempt === 1 && row.code === 'upstream_rejected',
          `${row.way} is ${row.status}, ${row.code}, at its attempt ${row.attempt}`,
        );
      must(rig.agent.ledger.length === 60, `there were ${rig.agent.ledger.length} calls for 60 tasks`);
      await until('a webhook of each', () => rig.sink.received.length >= 60);
      must(rig.sink.received.length === 60, `${rig.sink.received.length} webhooks came for 60 tasks`);
    },
  }),

  defineCase({
    id: 'F25',
    title: 'agents that fail, break off or are busy the first time: repeated under the same key, one result each',
    quick: true,
    async run(rig) {
      const once =
        (way: (response: ServerResponse) => unknown): Way =>
        (response, first) => {
          if (first) way(response);
          return first;
        };
      const ways: Record<string, Way> = {
        failing: once(status(500)),
        resetting: once((response) => response.socket?.resetAndDestroy()),
        closing: once((response) => response.destroy()),
        cutting: once((response) =>
          response.writeHead(200, { 'content-length': '100' }).write('{"eff', () => response.destroy()),
        ),
        chunking: once((response) => response.write('{"eff', () => response.destroy())),
        muttering: once((response) => (response.socket as Socket).end('what?\r\n\r\n')),
        busy: once(status(429, { 'retry-after': '1' })),
        full: once(status(503)),
      };
      await call(rig, ways, 20);
      for (const row of await ended(rig)) {
        const counted = row.way === 'busy' || row.way === 'full' ? 0 : 1;
        must(
          row.status === 'completed' && row.attempt === 2 && row.failures === counted,
          `${row.way} is ${row.status}, ${row.code}, after ${row.failures} failures`,
        );
      }
      const keys = new Map<string, number>();
      for (const { key } of rig.agent.ledger) keys.set(key, (keys.get(key) ?? 0) + 1);
      must(
        keys.size === 160 && [...keys.values()].every((times) => times === 2),
        'a call was not repeated once under its key',
      );
    },
  }),

  defineCase({
    id: 'F40',
    title: 'agents that stream without end, a gigabyte, or a byte at a time',
    async run(rig) {
      const sockets: Socket[] = [];
      const streaming =
        (headers: Record<string, string>): Way =>
        (response) => {
          sockets.push(response.socket as Socket);
          response.writeHead(200, headers);
          const more = () => {
            while (!response.destroyed && response.write('x'.repeat(65_536)));
          };
          response.on('drain', more);
          more();
          return true;
        };
      const ways: Record<string, Way> = {
        endless: streaming({}),
        gigabyte: streaming({ 'content-length': '1000000000' }),
        dripping: (response) => {
          sockets.push(response.socket as Socket);
          const timer = setInterval(() => response.write('.'), 100);
          response.once('close', () => clearInterval(timer));
          return true;
        },
      };
      const before = Math.max(...rig.workers.map((worker) => worker.usage().rss));
      let highest = before;
      const watch = setInterval(() => {
        highest = Math.max(highest, ...rig.workers.map((worker) => worker.usage().rss));
      }, 50);
      await call(rig, ways, 10, { max_attempts: 1, timeout_seconds: 20 });
      const rows = await ended(rig);
      clearInterval(watch);
      for (const row of rows) {
        const wanted = row.way === 'dripping' ? 'timeout' : 'output_too_large';
        must(
          row.status === 'failed' && row.attempt === 1 && row.code === wanted,
          `${row.way} is ${row.status}, ${row.code}, at its attempt ${row.attempt}`,
        );
      }
      await until('the end of every connection', () => sockets.every(({ destroyed }) => destroyed));
      const most = Math.max(...sockets.map(({ bytesWritten }) => bytesWritten));
      rig.note(
        `an agent wrote ${Math.round(most / 2 ** 20)} MB at most; a worker grew by ${Math.round((highest - before) / 2 ** 20)} MB at most`,
      );
      must(most < UNREAD, `an agent could write ${most} bytes`);
    },
  }),

  defineCase({
    id: 'F41',
    title: 'agents whose answers Postgres cannot store as they are',
    async run(rig) {
      const deep = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);
      const names = Array.from({ length: 10_001 }, (_, n) => `"k${n}":1`).join();
      const json: Record<string, string> = {
        nul: '{"a":"\\u0000"}',
        half: '{"a":"\\ud800"}',
        deep: deep(64),
        deeper: deep(1_000_000),
        open: '['.repeat(1_000_000),
        names: `{${names}}`,
        behind: '{"__proto__":{"admin":true}}',
        huge: '[1e400]',
      };
      const bytes: Record<string, Buffer> = {
        nulls: Buffer.alloc(1_000),
        garbage: Buffer.from([0xff, 0xfe, 0xc0, 0xed, 0xa0, 0x80, 0xf5]),
      };
      const ways: Record<string, Way> = {};
      for (const [way, body] of [...Object.entries(json), ...Object.entries(bytes)])
        ways[way] = (response) => {
          response.writeHead(200, { 'content-type': 'application/json', constructor: 'x' }).end(body);
          return true;
        };
      await call(rig, ways, 5);
      for (const { way, status, attempt, code, format, body } of await ended(rig)) {
        must(status === 'completed' && attempt === 1, `${way} is ${status}, ${code}, at its attempt ${attempt}`);
        must(
          format === 'text' && (json[way] === undefined || body === json[way]),
          `${way} was kept as ${format}: ${body}`,
        );
      }
    },
  }),
];

function status(code: number, headers: Record<string, string> = {}) {
  return (response: ServerResponse): boolean => {
    response.writeHead(code, headers).end('no');
    return true;
  };
}

/** Has so many tasks call an agent in each of these ways; the agent is told by the body how to answer. */
async function call(rig: Rig, ways: Record<string, Way>, times: number, more: object = {}): Promise<void> {
  const known = new Set<string>();
  rig.agent.script = ({ way = '' }: AgentOrder, response, key) => {
    const first = !known.has(key);
    known.add(key);
    return ways[way]?.(response, first) ?? false;
  };
  const names = Object.keys(ways).flatMap((way) => Array<string>(times).fill(way));
  await rig.client.load(
    names.map((way) => ({
      type: 'http.request',
      input: { method: 'POST', url: rig.agent.url, body: { way } },
      ...more,
    })),
    { insist: true },
  );
}

interface Ended {
  way: string;
  status: string;
  attempt: number;
  failures: number;
  code: string | null;
  format: string | null;
  body: string | null;
}

/** Waits until all have ended, and tells how. */
async function ended(rig: Rig): Promise<Ended[]> {
  await until(
    'the end of every task',
    async () => {
      const [row] = await rig.postgres.query<{ open: number }>(
        `select count(*)::int as open from tasks where completed_at is null`,
      );
      return row?.open === 0;
    },
    90_000,
  );
  return rig.postgres.query<Ended>(
    `select input #>> '{body,way}' as way, status, attempt, failures, error ->> 'code' as code,
       output ->> 'body_format' as format, output ->> 'body' as body
     from tasks where type = 'http.request'`,
  );
}
