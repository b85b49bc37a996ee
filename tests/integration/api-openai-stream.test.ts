import { once } from 'node:events';
import { request } from 'node:http';
import OpenAI from 'openai';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { sendJson, sendLines } from '../support/fake-ollama.ts';
import { createSpeaker, type Speaker } from '../support/sse.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const REQUEST = { model: 'tinyllama', messages: [{ role: 'user' as const, content: 'Hello!' }], stream: true as const };
type Chunk = OpenAI.ChatCompletionChunk;

describe('a chat that is streamed to the official client', () => {
  let world: World;
  let client: Client;
  let openai: OpenAI;
  let speaker: Speaker;
  beforeAll(async () => {
    world = await createWorld({ env: { MAX_STREAMS_PER_USER: '3' } });
    client = await world.client();
    openai = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: client.token, maxRetries: 0 });
  });
  beforeEach(() => {
    speaker = createSpeaker();
    world.ollama.script = speaker.script;
  });
  afterAll(() => world.close());

  const textOf = (chunks: Chunk[]) => chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('');
  async function latest(): Promise<PresentedTask> {
    const { body } = await client.request<{ data: PresentedTask[] }>('GET', '/api/v1/tasks?limit=1');
    return body.data[0] as PresentedTask;
  }
  async function thrown(work: Promise<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
    return work.then(
      () => expect.unreachable('it should have failed'),
      (error) => error,
    );
  }

  it('arrives while the model speaks, and is the output of its task to the letter', async () => {
    const stream = openai.chat.completions.create({ ...REQUEST, stream_options: { include_usage: true } });
    const speech = await speaker.call(0);
    speech.say('Once');
    const { data, response } = await stream.withResponse();
    const chunks: Chunk[] = [];
    for await (const chunk of data) {
      chunks.push(chunk);
      // Each piece is read before the next one is said.
      if (textOf(chunks) === 'Once') speech.say(' upon 🦊');
      if (textOf(chunks) === 'Once upon 🦊') {
        speech.say(' a time');
        speech.finish();
      }
    }
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    const task = await client.waitForEnd(response.headers.get('x-task-id') as string);
    expect(task).toMatchObject({ status: 'completed', output: { message: { content: 'Once upon 🦊 a time' } } });
    expect(textOf(chunks)).toBe('Once upon 🦊 a time');
    expect(chunks[0]?.choices[0]?.delta).toEqual({ role: 'assistant', content: '', refusal: null });
    expect(chunks.at(-2)?.choices).toEqual([{ index: 0, delta: {}, logprobs: null, finish_reason: 'stop' }]);
    const usage = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 };
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage });
    for (const { id, object, model } of chunks)
      expect([id, object, model]).toEqual([`chatcmpl-${task.id}`, 'chat.completion.chunk', 'tinyllama:latest']);
  });

  it('ends with the tools that the model calls', async () => {
    world.ollama.script = (_, response) => {
      const called = { function: { name: 'weather', arguments: { city: 'Rome' } } };
      sendLines(response, [
        { message: { role: 'assistant', content: 'Let me see. ' } },
        { message: { role: 'assistant', content: '', tool_calls: [called] } },
        { message: { role: 'assistant', content: '' }, done: true, done_reason: 'stop', eval_count: 9 },
      ]);
      return true;
    };
    const runner = openai.chat.completions.stream({ ...REQUEST, stream_options: { include_usage: true } });
    const { choices, usage } = await runner.finalChatCompletion();
    expect(choices[0]).toMatchObject({
      finish_reason: 'tool_calls',
      message: {
        content: 'Let me see. ',
        tool_calls: [{ id: /^call_/, function: { name: 'weather', arguments: '{"city":"Rome"}' } }].map((call) => ({
          ...call,
          id: expect.stringMatching(call.id),
        })),
      },
    });
    expect(usage).toMatchObject({ completion_tokens: 9 });
  });

  it('is answered with a status of its own where it fails before its first word', async () => {
    world.ollama.script = (_, response) => {
      sendJson(response, 400, { error: 'no such thing' });
      return true;
    };
    expect(await thrown(openai.chat.completions.create(REQUEST))).toMatchObject({
      ...{ status: 400, code: 'upstream_rejected' },
    });
    const wrong = await thrown(openai.chat.completions.create({ ...REQUEST, model: 'gpt-4o' }));
    expect(wrong).toMatchObject({ status: 404, code: 'model_not_found' });
  });

  it('is tried again without a word while nothing was said, and breaks off where something was', async () => {
    const stream = openai.chat.completions.create(REQUEST);
    (await speaker.call(0)).fail();
    const second = await speaker.call(1);
    second.say('Half of a');
    const chunks: Chunk[] = [];
    const error = await thrown(
      (async () => {
        for await (const chunk of await stream) {
          chunks.push(chunk);
          if (textOf(chunks) !== 'Half of a') continue;
          // The pause before the third attempt is not by chance shorter than it takes to cancel it.
          const chance = vi.spyOn(Math, 'random').mockReturnValue(0.9);
          onTestFinished(() => chance.mockRestore());
          second.fail();
        }
      })(),
    );
    expect(textOf(chunks)).toBe('Half of a');
    expect(error).toMatchObject({ code: 'attempt_broken_off', type: 'server_error' });
    // Nobody would read a third attempt.
    expect(await client.waitForEnd((await latest()).id)).toMatchObject({ status: 'cancelled', attempt: 2 });
  });

  it('is cancelled when its reader goes away, before its first word as after it', async () => {
    for (const word of [undefined, 'Once']) {
      speaker = createSpeaker();
      world.ollama.script = speaker.script;
      const abort = new AbortController();
      const stream = openai.chat.completions.create(REQUEST, { signal: abort.signal });
      const speech = await speaker.call(0);
      if (word) {
        speech.say(word);
        for await (const chunk of await stream) if (textOf([chunk]) === word) break;
      } else {
        abort.abort();
        await thrown(stream);
      }
      expect(await speech.closedEarly).toBe(true);
      const task = await client.waitForEnd((await latest()).id);
      expect(task).toMatchObject({ status: 'cancelled', cancel_reason: 'the client went away' });
    }
  });

  it('reaches a slow reader whole', async () => {
    const word = `${'much '.repeat(200)}\n`;
    const body = JSON.stringify(REQUEST);
    const headers = { authorization: `Bearer ${client.token}`, 'content-type': 'application/json' };
    const asked = request(`${world.url}/v1/chat/completions`, { method: 'POST', headers, agent: false });
    asked.end(body);
    const speech = await speaker.call(0);
    for (let count = 0; count < 300; count++) speech.say(word);
    const [answer] = await once(asked, 'response');
    speech.finish();
    let text = '';
    for await (const piece of answer.setEncoding('utf8')) {
      text += piece;
      // Reads less at a time than is there.
      await new Promise((resolve) => setImmediate(resolve));
    }
    const lines = text.split('\n\n').filter((line) => line.startsWith('data: '));
    expect(lines.at(-1)).toBe('data: [DONE]');
    const chunks = lines.slice(0, -1).map((line) => JSON.parse(line.slice(6)) as Chunk);
    expect(textOf(chunks)).toBe(word.repeat(300));
  });

  it('counts among the streams that a user may have open, and makes no task where there are too many', async () => {
    const open = [1, 2, 3].map(() => openai.chat.completions.create(REQUEST));
    const speeches = [];
    for (const index of [0, 1]) speeches.push(await speaker.call(index));
    // The third waits for a worker: two run at a time.
    await expect
      .poll(async () => (await client.request('GET', '/api/v1/tasks?status=pending')).body.data)
      .toHaveLength(1);
    const before = await latest();
    const refused = await thrown(openai.chat.completions.create(REQUEST));
    expect(refused).toMatchObject({ status: 429, code: 'rate_limit_exceeded' });
    expect((await latest()).id).toBe(before.id);
    for (const speech of speeches) speech.finish();
    (await speaker.call(2)).finish();
    for (const stream of open) for await (const _ of await stream);
  });

  it('breaks off when its credential is revoked', async () => {
    const other = await world.client();
    const theirs = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: other.token, maxRetries: 0 });
    const stream = theirs.chat.completions.create(REQUEST);
    const speech = await speaker.call(0);
    speech.say('Once');
    const error = await thrown(
      (async () => {
        for await (const chunk of await stream)
          if (textOf([chunk]) === 'Once') await other.request('POST', '/api/v1/auth/logout');
      })(),
    );
    expect(error).toMatchObject({ code: 'invalid_api_key' });
    expect(await speech.closedEarly).toBe(true);
  });

  it('says that it is to be sent again where the server stops', async () => {
    const api = await world.join('api');
    const there = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: client.token, maxRetries: 0 });
    const whole = there.chat.completions.create({ ...REQUEST, stream: false });
    const streamed = there.chat.completions.create(REQUEST);
    const first = await speaker.call(0);
    first.say('Once');
    (await speaker.call(1)).say('Once');
    const chunks = (await streamed)[Symbol.asyncIterator]();
    await chunks.next();
    await Promise.all([
      expect(thrown(whole)).resolves.toMatchObject({ status: 503, type: 'server_error' }),
      expect(
        thrown(
          (async () => {
            while (!(await chunks.next()).done);
          })(),
        ),
      ).resolves.toMatchObject({ code: 'temporary-reduced-capacity' }),
      api.close(),
    ]);
    expect(await first.closedEarly).toBe(true);
  });
});
