import { createHash } from 'node:crypto';
import { request } from 'node:http';
import { gzipSync } from 'node:zlib';
import { defineCase } from '../rig/case.ts';
import type { Rig } from '../rig/rig.ts';
import { must } from '../rig/wait.ts';

const LIMIT = 1_048_576;
const task = (input: string) => `{"type":"echo","input":${input}}`;

/** Requests that are meant to hurt. */
export const requestCases = [
  defineCase({
    id: 'F38',
    title: 'bodies at the limit, above it, without a length, and packed',
    backends: ['postgres'],
    quick: true,
    async run(rig) {
      const room = LIMIT - task('{"message":""}').length;
      const fits = task(`{"message":"${'x'.repeat(room)}"}`);
      const before = rig.apis[0]?.usage().rss ?? 0;
      must((await send(rig, fits)) === 202, 'a body at the limit was refused');
      must((await send(rig, `${fits} `)) === 413, 'a body one byte above the limit was not refused with 413');
      // Who goes on sending into a closed connection may lose the answer with it (0).
      const unbounded = await send(rig, 'x'.repeat(64 * LIMIT), { chunked: true });
      must(unbounded === 413 || unbounded === 0, `a body without a length was answered ${unbounded}`);
      const bomb = gzipSync(Buffer.alloc(64 * LIMIT, 'x'));
      must(
        (await send(rig, bomb, { headers: { 'content-encoding': 'gzip' } })) === 415,
        'a packed body was not refused',
      );
      const grown = ((rig.apis[0]?.usage().rss ?? 0) - before) / LIMIT;
      must(grown < 160, `the API grew by ${Math.round(grown)} MB`);
      rig.note(`the API grew by ${Math.max(0, Math.round(grown))} MB`);
      await accepted(rig);
    },
  }),
  defineCase({
    id: 'F39',
    title: 'JSON that is meant to hurt',
    backends: ['postgres'],
    quick: true,
    async run(rig) {
      const names = Array.from({ length: 100_000 }, (_, n) => `"k${n}":1`).join();
      const bodies: Array<[string, string]> = [
        ['100,000 levels', task('['.repeat(100_000) + ']'.repeat(100_000))],
        ['100,000 names', task(`{${names.slice(0, LIMIT - 1_000).replace(/,[^,]*$/, '')}}`)],
        ['__proto__', `{"type":"echo","__proto__":{"admin":true},"input":{"message":"x"}}`],
        ['__proto__ inside', task('{"message":"x","__proto__":{"y":1}}')],
        ['a number too large', task('{"message":1e400}')],
        ['half of a pair', task('{"message":"\\ud800"}')],
        ['NUL', task('{"message":"\\u0000"}')],
        ['no JSON', '{"type":'],
      ];
      let worst = 0;
      for (const [what, body] of bodies) {
        const sent = send(rig, body);
        const started = performance.now();
        await rig.client.request('GET', '/healthz');
        worst = Math.max(worst, performance.now() - started);
        const status = await sent;
        must(status === 400 || status === 413 || status === 422, `${what} was answered ${status}`);
      }
      // The last one counts, as JSON.parse has it; what matters is that it is not half of each.
      const twice = await send(rig, `{"type":"nothing","type":"echo","input":{"message":"x"}}`);
      must(twice === 202 || twice === 422 || twice === 400, `a name that stands twice was answered ${twice}`);
      rig.note(`another request waited ${Math.round(worst)} ms at most`);
      await accepted(rig);
    },
  }),
];

/** What was stored here came past the book. */
async function accepted(rig: Rig): Promise<void> {
  const rows = await rig.postgres.query<{ id: string }>(`select id from tasks where type = 'echo'`);
  for (const { id } of rows) rig.client.book.accepted.add(id);
}

/** Sends bytes as they are to POST /tasks; answers the status, 0 where the connection ended without one. */
async function send(
  rig: Rig,
  body: string | Buffer,
  { chunked = false, headers = {} }: { chunked?: boolean; headers?: Record<string, string> } = {},
): Promise<number> {
  const bytes = Buffer.from(body);
  const { token } = rig.client;
  return new Promise((resolve) => {
    const call = request(
      `${rig.apis[0]?.url}/api/v1/tasks`,
      {
        method: 'POST',
        headers: {
          authorization: `Bearer ${token()}`,
          'content-type': 'application/json',
          'x-request-id': createHash('sha1').update(bytes.subarray(0, 1_000)).digest('hex'),
          ...(chunked ? { 'transfer-encoding': 'chunked' } : { 'content-length': bytes.length }),
          ...headers,
        },
      },
      (answer) => {
        answer.resume();
        resolve(answer.statusCode ?? 0);
      },
    );
    let answered = false;
    call.on('response', () => {
      answered = true;
    });
    // A server that has refused need not read on; its answer may be there all the same.
    call.on('error', () => setTimeout(() => !answered && resolve(0), 500));
    call.end(bytes);
  });
}
