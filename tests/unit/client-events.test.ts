import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Sutazai, type TaskEvent } from '../../src/client/index.ts';
import {
  hangUp,
  json,
  problem,
  type Reaction,
  type ScriptedHttp,
  startScriptedHttp,
} from '../support/scripted-http.ts';

const TASK = { id: 't1', type: 'chat', status: 'completed' };

let server: ScriptedHttp;
let client: Sutazai;
beforeAll(async () => {
  server = await startScriptedHttp();
  client = new Sutazai({ baseUrl: server.url, apiKey: 'sk_test', maxRetries: 2 });
});
afterAll(() => server.close());

const event = (name: string, data: object, id?: string) =>
  `${id ? `id: ${id}\n` : ''}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
const output = (attempt: number, offset: number, text: string) => event('output', { attempt, offset, text });
const completed = event('completed', TASK, '9');

/** Sends events and then ends in peace, breaks off, or goes on. */
function sends(text: string, after: (answer: ServerResponse) => void = (answer) => answer.end()): Reaction {
  return (answer) => {
    answer.writeHead(200, { 'content-type': 'text/event-stream' });
    answer.write(text, () => after(answer));
  };
}

async function all(after?: string): Promise<TaskEvent[]> {
  const events = [];
  for await (const one of client.tasks.stream('t1', { after })) events.push(one);
  return events;
}

it('asks for what comes after the last durable event, and cuts away the text that it has', async () => {
  server.script(
    sends(event('status', { id: '3', type: 'started' }, '3') + output(1, 0, 'Once upon'), (answer) => answer.destroy()),
    sends(`${output(1, 0, 'Once')}${output(1, 4, ' upon a')}${output(1, 11, ' time')}${completed}`),
  );
  const events = await all();
  expect(events.slice(1)).toEqual([
    { type: 'output', attempt: 1, offset: 0, text: 'Once upon' },
    { type: 'output', attempt: 1, offset: 9, text: ' a' },
    { type: 'output', attempt: 1, offset: 11, text: ' time' },
    { type: 'completed', task: TASK },
  ]);
  expect(server.asked.map(({ headers }) => headers['last-event-id'])).toEqual([undefined, '3']);
});

it('does not wait for ever for a server that takes the request and says nothing', async () => {
  server.script(() => {}, sends(completed));
  const events = [];
  for await (const one of client.tasks.stream('t1', { timeoutMs: 100 })) events.push(one);
  expect(events).toEqual([{ type: 'completed', task: TASK }]);
  expect(server.asked).toHaveLength(2);
});

it('lets a stream that has begun take longer than its timeoutMs', async () => {
  server.script(sends(output(1, 0, 'a'), (answer) => void setTimeout(() => answer.end(completed), 300)));
  const events = [];
  for await (const one of client.tasks.stream('t1', { timeoutMs: 100 })) events.push(one);
  expect(events).toHaveLength(2);
  expect(server.asked).toHaveLength(1);
});

it('begins the text anew with a new attempt, and lets none of an earlier one through', async () => {
  server.script(
    sends(`${output(1, 0, 'abc')}${output(2, 0, 'ab')}${output(1, 3, 'd')}${output(2, 2, 'c')}${completed}`),
  );
  const texts = (await all()).map((one) => (one.type === 'output' ? `${one.attempt}:${one.text}` : one.type));
  expect(texts).toEqual(['1:abc', '2:ab', '2:c', 'completed']);
});

it('leaves out what it does not know, and reads the task where nothing comes any more', async () => {
  server.script(sends(`: ping\n\n${event('later', {})}retry: 1\n\n${completed}`));
  expect(await all()).toEqual([{ type: 'completed', task: TASK }]);
  server.script((answer) => answer.writeHead(204).end(), json(200, TASK));
  expect(await all('9')).toEqual([{ type: 'completed', task: TASK }]);
  expect(server.asked.map(({ url, headers }) => [url, headers['last-event-id']])).toEqual([
    ['/api/v1/tasks/t1/events', '9'],
    ['/api/v1/tasks/t1', undefined],
  ]);
});

it('goes on as long as anything comes, if it is a ping, and then gives up after awayMs', async () => {
  const collect = async (options: { awayMs?: number }) => {
    const events = [];
    for await (const one of client.tasks.stream('t1', options)) events.push(one);
    return events;
  };
  const brief = sends(event('status', { id: '3' }, '3'), (answer) => answer.destroy());
  const quiet = sends(': ping\n\n', (answer) => void setTimeout(() => answer.end(), 600));
  const busy = problem(503, 'temporary-reduced-capacity');
  server.script(hangUp, brief, busy, brief, sends(''), brief, hangUp, sends(completed));
  expect((await collect({ awayMs: 2_500 })).at(-1)).toMatchObject({ type: 'completed' });
  expect(server.asked).toHaveLength(8);
  server.script(quiet, quiet, quiet, quiet, sends(completed));
  expect(await collect({ awayMs: 800 })).toHaveLength(1);
  expect(server.asked).toHaveLength(5);
  server.script(brief, hangUp);
  await expect(collect({ awayMs: 1_000 })).rejects.toMatchObject({
    code: 'network_error',
    message: expect.stringMatching(
      / for 1 s\. The task goes on: tasks\.stream\("t1", \{ after: "3" \}\) follows it again/,
    ),
  });
  server.script(sends(''));
  await expect(collect({ awayMs: 200 })).rejects.toThrow('end before the task does');
  server.script((answer) => answer.writeHead(502).end());
  await expect(collect({ awayMs: 200 })).rejects.toMatchObject({ code: 'network_error', status: 502 });
  server.script(problem(429, 'too_many_streams', { 'retry-after': '5' }));
  await expect(collect({ awayMs: 200 })).rejects.toMatchObject({ code: 'too_many_streams' });
  expect(server.asked).toHaveLength(1);
});

it('waits for a server that is away for longer than a handful of attempts takes', async () => {
  const since = Date.now();
  const away: Reaction = (answer, asked) =>
    Date.now() - since < 9_000 ? answer.destroy() : sends(completed)(answer, asked);
  server.script(away);
  const patient = new Sutazai({ baseUrl: server.url, apiKey: 'sk_test', maxRetries: 0 });
  const events = [];
  for await (const one of patient.tasks.stream('t1')) events.push(one);
  expect(events).toEqual([{ type: 'completed', task: TASK }]);
});

it('does not try again what another attempt would not better', async () => {
  server.script(problem(404, 'not_found'));
  await expect(all()).rejects.toMatchObject({ code: 'not_found' });
  server.script(json(200, {}));
  await expect(all()).rejects.toMatchObject({ code: 'bad_answer' });
  expect(server.asked).toHaveLength(1);
});

it('closes the connection when its reader stops', async () => {
  const closed = Promise.withResolvers<void>();
  server.script((answer, asked) => {
    answer.once('close', closed.resolve);
    sends(event('status', { id: '1' }, '1').repeat(3), () => {})(answer, asked);
  });
  for await (const one of client.tasks.stream('t1')) {
    expect(one.type).toBe('status');
    break;
  }
  await closed.promise;
  expect(server.asked).toHaveLength(1);
});
