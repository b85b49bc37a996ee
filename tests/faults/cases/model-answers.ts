import type { ServerResponse } from 'node:http';
import { type Script, sendJson, sendLines } from '../../support/fake-ollama.ts';
import { defineCase } from '../rig/case.ts';
import { allEnded, askedTasks, chat, many, SAID_FULL, saidIn } from '../rig/chats.ts';
import { lasting, must } from '../rig/wait.ts';

/** More than the five minutes that HTTP clients wait for headers by habit. */
const COLD_MS = 310_000;

/** Writes the same until the client has enough. */
function endless(response: ServerResponse, bytes: string): boolean {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  const more = () => {
    while (!response.destroyed && response.write(bytes));
    if (!response.destroyed) response.once('drain', more);
  };
  more();
  return true;
}

/** What a model answers. */
export const modelAnswerCases = [
  defineCase({
    id: 'F40',
    title: 'models that do not stop writing',
    topology: { workerEnv: { MAX_OUTPUT_BYTES: '1000000' } },
    async run(rig) {
      const tool = { function: { name: 'again', arguments: {} } };
      const ways: Record<string, string> = {
        text: `${JSON.stringify({ message: { role: 'assistant', content: 'and so on '.repeat(50) }, done: false })}\n`,
        tools: `${JSON.stringify({ message: { role: 'assistant', content: '', tool_calls: Array(50).fill(tool) }, done: false })}\n`,
        line: 'and so on '.repeat(6_000),
      };
      const ended: Array<Promise<boolean>> = [];
      rig.ollama.script = (call, response) => {
        ended.push(call.closedEarly);
        return endless(response, ways[saidIn(call).split(' ')[0] ?? ''] ?? '');
      };
      const before = Math.max(...rig.workers.map((worker) => worker.usage().rss));
      await rig.client.load(
        Object.keys(ways).flatMap((way) => many(10, (n) => chat(`${way} ${n}`, { max_attempts: 1 }))),
        { insist: true },
      );
      await allEnded(rig, 60_000);
      const after = Math.max(...rig.workers.map((worker) => worker.usage().rss));
      rig.note(`a worker grew by ${Math.max(0, Math.round((after - before) / 2 ** 20))} MB`);
      for (const [said, { status, attempt, code }] of await askedTasks(rig)) {
        const wanted = said.startsWith('line') ? 'upstream_protocol' : 'output_too_large';
        must(status === 'failed' && attempt === 1 && code === wanted, `${said} is ${status}, ${code}`);
      }
      must((await Promise.all(ended)).every(Boolean), 'a model was left writing');
    },
  }),
  defineCase({
    id: 'F41',
    title: 'answers that Postgres cannot store',
    async run(rig) {
      const say = (response: ServerResponse, message: string) => {
        response.writeHead(200, { 'content-type': 'application/x-ndjson' });
        response.end(`{"message":${message},"done":true,"done_reason":"stop"}\n`);
        return true;
      };
      const deep = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
      const ways: Record<string, (response: ServerResponse) => boolean> = {
        nul: (response) => say(response, '{"role":"assistant","content":"a\\u0000b"}'),
        half: (response) => say(response, '{"role":"assistant","content":"a\\ud800b"}'),
        deep: (response) => say(response, `{"role":"assistant","content":"","tool_calls":${deep(100)}}`),
        deeper: (response) => say(response, `{"role":"assistant","content":"","tool_calls":${deep(100_000)}}`),
        names: (response) => {
          const names = Array.from({ length: 10_001 }, (_, n) => `"k${n}":1`).join();
          return say(response, `{"role":"assistant","content":"","tool_calls":[{${names}}]}`);
        },
        error: (response) => {
          sendJson(response, 400, { error: `no\u0000thing ${'x'.repeat(990)}\u{1f600}${'y'.repeat(100_000)}` });
          return true;
        },
      };
      rig.ollama.script = (call, response) => ways[saidIn(call).split(' ')[0] ?? '']?.(response) ?? false;
      await rig.client.load(
        Object.keys(ways).flatMap((way) => many(10, (n) => chat(`${way} ${n}`))),
        { insist: true },
      );
      await allEnded(rig, 30_000);
      const wanted: Record<string, string> = {
        nul: 'completed ab',
        half: 'completed a\ufffdb',
        deep: 'failed invalid_output',
        deeper: 'failed invalid_output',
        names: 'failed invalid_output',
        error: 'failed upstream_rejected',
      };
      for (const [said, { status, attempt, code, content }] of await askedTasks(rig)) {
        const seen = `${status} ${content ?? code}`;
        must(
          attempt === 1 && seen === wanted[said.split(' ')[0] ?? ''],
          `${said} is ${seen} at its attempt ${attempt}`,
        );
      }
    },
  }),

  defineCase({
    id: 'F46',
    title: 'each way in which a model host answers wrongly, 20 times at once',
    async run(rig) {
      const times = new Map<string, number>();
      const line = { message: { role: 'assistant', content: 'half' }, done: false };
      const ways: Record<string, (first: boolean, ...call: Parameters<Script>) => boolean> = {
        full: (first, _, response) => {
          if (first) sendJson(response, 503, SAID_FULL);
          return first;
        },
        broken: (first, _, response) => {
          if (first) sendJson(response, 500, { error: 'cuda error' });
          return first;
        },
        gone: (_first, { body }, response) => {
          sendJson(response, 404, { error: `model "${body.model}" not found, try pulling it first` });
          return true;
        },
        error: (first, _, response) => {
          if (first) sendLines(response, [line, { error: 'out of memory' }]);
          return first;
        },
        early: (first, _, response) => {
          if (first) sendLines(response, [{ error: 'out of memory' }]);
          return first;
        },
        cut: (first, _, response) => {
          if (first) sendLines(response, [line]);
          return first;
        },
        reset: (first, _, response) => {
          if (first) response.write(`${JSON.stringify(line)}\n`, () => response.socket?.resetAndDestroy());
          return first;
        },
        length: (_first, _, response) => {
          sendLines(response, [{ ...line, done: true, done_reason: 'length' }]);
          return true;
        },
      };
      rig.ollama.script = (call, response) => {
        const said = saidIn(call);
        times.set(said, (times.get(said) ?? 0) + 1);
        return ways[said.split(' ')[0] ?? '']?.(times.get(said) === 1, call, response) ?? false;
      };
      await rig.client.load(
        Object.keys(ways).flatMap((way) => many(20, (n) => chat(`${way} ${n}`, { max_attempts: 4 }))),
        { insist: true },
      );
      await allEnded(rig, 100_000);
      const whole = 'Hello from a scripted host';
      for (const [said, { status, failures, content, code, done_reason }] of await askedTasks(rig)) {
        const way = said.split(' ')[0];
        const seen = `${said} is ${status} after ${failures} failures, ${code ?? content}`;
        if (way === 'gone') must(status === 'failed' && code === 'model_unavailable' && failures === 4, seen);
        else if (way === 'length')
          must(status === 'completed' && content === 'half' && done_reason === 'length' && failures === 0, seen);
        else must(status === 'completed' && content === whole && failures === (way === 'full' ? 0 : 1), seen);
      }
    },
  }),
  defineCase({
    id: 'F46',
    title: 'a model that takes five minutes to load, and one that stops in the middle of a sentence',
    backends: ['redis'],
    withinSeconds: 480,
    async run(rig) {
      let stalls = 0;
      rig.ollama.script = async (call, response) => {
        if (saidIn(call) === 'cold') await lasting(COLD_MS);
        else if (stalls++ === 0) {
          response.writeHead(200, { 'content-type': 'application/x-ndjson' });
          response.write('{"message":{"role":"assistant","content":"Once"},"done":false}\n');
          return true;
        }
        return false;
      };
      await rig.client.load([chat('cold', { max_attempts: 1 }), chat('stalls')], { insist: true });
      await allEnded(rig, COLD_MS + 60_000);
      const rows = await askedTasks(rig);
      must(rows.get('cold')?.status === 'completed', 'the cold model was not waited for');
      must(
        rows.get('stalls')?.status === 'completed' && rows.get('stalls')?.attempt === 2,
        'the stall was not noticed',
      );
    },
  }),
];
