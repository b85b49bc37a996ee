import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { type OllamaCall, sendLines } from '../support/fake-ollama.ts';
import { expectProblem } from '../support/problem.ts';
import { createSpeaker, readEvents } from '../support/sse.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const messages = [{ role: 'user', content: 'Hello!' }];
const PERSON = {
  type: 'object',
  properties: { name: { type: 'string' } },
  required: ['name'],
  additionalProperties: false,
};

describe('chat and generate', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld();
    client = await world.client();
  });
  afterEach(() => {
    world.ollama.script = undefined;
  });
  afterAll(() => world.close());

  /** The model says these one after the other, the last one again and again; answers what it was asked. */
  function saying(...answers: Array<{ content: string; thinking?: string; done_reason?: string }>): OllamaCall[] {
    const calls: OllamaCall[] = [];
    world.ollama.script = (call, response) => {
      const { content, thinking, done_reason = 'stop' } = answers[Math.min(calls.length, answers.length - 1)]!;
      calls.push(call);
      const told =
        call.path === '/api/chat'
          ? { message: { role: 'assistant', content, thinking } }
          : { response: content, thinking };
      sendLines(response, [{ ...told, done: true, done_reason, prompt_eval_count: 3, eval_count: 2 }]);
      return true;
    };
    return calls;
  }

  describe('POST /api/v1/chat', () => {
    const chat = (body: object, headers: Record<string, string> = {}) =>
      client.request<PresentedTask>('POST', '/api/v1/chat', { messages, ...body }, headers);

    it('answers with the task once it has ended, or with the task as it is after the time that was asked for', async () => {
      const done = await chat({ model: 'tinyllama' });
      expect([done.status, done.headers.get('preference-applied')]).toEqual([200, 'wait=55']);
      expect(done.body).toMatchObject({ type: 'chat', status: 'completed', input: { messages, model: 'tinyllama' } });
      expect(done.headers.get('x-task-id')).toBe(done.body.id);
      const speaker = createSpeaker();
      world.ollama.script = speaker.script;
      const late = await chat({}, { prefer: 'wait=1' });
      expect([late.status, late.headers.get('preference-applied')]).toEqual([202, 'wait=1']);
      expect(late.headers.get('location')).toBe(late.body.urls.self);
      (await speaker.call(0)).finish();
      expect((await client.waitForEnd(late.body.id)).status).toBe('completed');
    });

    it('sends the events of the task with `stream`', async () => {
      const headers = { authorization: `Bearer ${client.token}`, 'content-type': 'application/json' };
      const init = { method: 'POST', headers, body: JSON.stringify({ messages, stream: true }) };
      const reader = await readEvents(`${world.url}/api/v1/chat`, {}, init);
      const task = await reader.ended;
      expect(reader.text()).toBe('Hello from a scripted host');
      expect(task).toMatchObject({ id: reader.headers.get('x-task-id'), status: 'completed' });
      expect(reader.headers.get('location')).toBe(task?.urls.self);
    });

    it('takes what a chat takes and nothing else, and happens once under an Idempotency-Key', async () => {
      const problem = expectProblem(await chat({ format: { type: 'nope' }, priority: 1 }), 'validation_failed');
      expect(problem.errors?.map(({ pointer }) => pointer).sort()).toEqual(['#/format/type', '#/priority']);
      const key = { 'idempotency-key': 'a-chat-of-mine' };
      const [first, second] = [await chat({}, key), await chat({}, key)];
      expect([second.status, second.body.id, second.headers.get('idempotency-replayed')]).toEqual([
        200,
        first.body.id,
        'true',
      ]);
    });
  });

  it('answer JSON that fits its schema, with what it says as `parsed`', async () => {
    const calls = saying({ content: '{"name":"Ada"}' });
    const chat = await client.runTask('chat', { messages, format: PERSON });
    expect(chat.output).toMatchObject({ message: { content: '{"name":"Ada"}' }, parsed: { name: 'Ada' } });
    const generate = await client.runTask('generate', { prompt: 'Who?', system: 'Be brief.', format: 'json' });
    expect(generate.output).toMatchObject({ text: '{"name":"Ada"}', parsed: { name: 'Ada' } });
    expect(calls.map(({ body }) => body.format)).toEqual([PERSON, 'json']);
    expect(calls[1]?.body).toMatchObject({ system: 'Be brief.', prompt: 'Who?' });
    expect((await client.runTask('generate', { prompt: 'Who?' })).output).not.toHaveProperty('parsed');
  });

  it('are tried again where the answer does not fit', async () => {
    const calls = saying({ content: '{"name":7}' }, { content: '{"name":"Ada"}' });
    const { output, attempt, id } = await client.runTask('chat', { messages, format: PERSON }, { max_attempts: 2 });
    expect([attempt, calls.length]).toEqual([2, 2]);
    expect(output).toMatchObject({ parsed: { name: 'Ada' } });
    const { body } = await client.request<{ data: unknown[] }>('GET', `/api/v1/tasks/${id}/attempts`);
    expect(body.data[0]).toMatchObject({
      outcome: 'retry',
      usage: { input_tokens: 3, output_tokens: 2 },
      error: { code: 'invalid_output', message: expect.stringContaining('/name must be string') },
    });
  });

  it('say that an answer was cut off, and ask once only where the model would say the same again', async () => {
    const calls = saying({ content: '{"name":"A', done_reason: 'length' });
    const { error, status } = await client.runTask('chat', { messages, format: PERSON, options: { seed: 1 } });
    expect([status, calls.length]).toEqual(['failed', 1]);
    expect(error).toMatchObject({ code: 'invalid_output', retryable: false });
    expect(error?.message).toMatch(
      /not the JSON that .*"\{\\"name\\":\\"A".*cut off \(done_reason: length\).*num_predict/,
    );
  });

  it('do not let a schema hold the worker up', async () => {
    saying({ content: JSON.stringify(`${'a'.repeat(40)}!`) });
    const format = { type: 'string', pattern: '^(a+)+$' };
    const { error } = await client.runTask('generate', { prompt: 'x', format });
    expect(error).toMatchObject({ code: 'invalid_input', message: expect.stringContaining('takes too long to check') });
  });

  it('pass on how to think, what was thought, the seed, images and how long the model stays', async () => {
    const calls = saying({ content: 'Four.', thinking: 'Two and two…' });
    const more = { think: true, keep_alive: '10m', options: { seed: 7 } };
    const images = ['aGVsbG8='];
    const asked = [{ role: 'user', content: 'What is 2 + 2?', images }];
    const chat = await client.runTask('chat', { messages: asked, ...more });
    expect(chat.output).toMatchObject({ message: { content: 'Four.', thinking: 'Two and two…' } });
    const generate = await client.runTask('generate', { prompt: 'What is 2 + 2?', images, ...more });
    expect(generate.output).toMatchObject({ text: 'Four.', thinking: 'Two and two…' });
    expect(calls[0]?.body).toMatchObject({ messages: asked, ...more });
    expect(calls[1]?.body).toMatchObject({ images, ...more });
    for (const { body } of calls) expect(body).not.toHaveProperty('fallback');
  });

  it('use no other model than the one that is named, where the task says so', async () => {
    const input = { model: 'nobody', fallback: false };
    const { error } = await client.runTask('chat', { messages, ...input }, { max_attempts: 1 });
    expect(error).toMatchObject({ code: 'model_unavailable' });
    const embed = await client.runTask('embed', { input: 'x', ...input }, { max_attempts: 1 });
    expect(embed.error).toMatchObject({ code: 'model_unavailable' });
    expect((await client.runTask('chat', { messages, model: 'nobody' })).output).toMatchObject({
      model: 'tinyllama:latest',
    });
  });

  it.each([
    [{ format: { type: 'nope' } }, '#/input/format/type'],
    [{ format: { properties: { a: { $ref: '#/$defs/b' } } } }, '#/input/format/properties/a/$ref'],
    [{ format: { $ref: 'https://example.com/schema' } }, '#/input/format/$ref'],
    [{ format: { properties: { a: { pattern: '(' } } } }, '#/input/format/properties/a/pattern'],
    [{ format: { description: 'x'.repeat(40_000) } }, '#/input/format'],
    [{ format: 'xml' }, '#/input/format'],
    [{ keep_alive: -1 }, '#/input/keep_alive'],
    [{ keep_alive: '25h' }, '#/input/keep_alive'],
    [{ keep_alive: 'soon' }, '#/input/keep_alive'],
    [{ think: 'hard' }, '#/input/think'],
    [{ tools: [{ type: 'function', function: {} }] }, '#/input/tools/0/function/name'],
    [{ tools: [{ type: 'retrieval' }] }, '#/input/tools/0/type'],
    [{ messages: [{ role: 'user', content: 'x', images: ['file:///etc/passwd'] }] }, '#/input/messages/0/images/0'],
    [{ messages: [{ role: 'assistant', content: '', tool_calls: [{}] }] }, '#/input/messages/0/tool_calls/0/function'],
  ])('are refused at the door for %j', async (more, pointer) => {
    const answer = await client.request('POST', '/api/v1/tasks', { type: 'chat', input: { messages, ...more } });
    expect(expectProblem(answer, 'validation_failed').errors?.[0]?.pointer).toBe(pointer);
  });
});
