import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type OllamaCall, sendLines } from '../support/fake-ollama.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const HELLO = [{ role: 'user' as const, content: 'Hello!' }];

describe('a chat of the official client', () => {
  let world: World;
  let client: Client;
  let openai: OpenAI;
  beforeAll(async () => {
    world = await createWorld();
    client = await world.client();
    const { body } = await client.request<{ key: string }>('POST', '/api/v1/api-keys', { name: 'for OpenAI' });
    openai = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: body.key, maxRetries: 0 });
  });
  afterEach(() => {
    world.ollama.script = undefined;
  });
  afterAll(() => world.close());

  /** What the model is asked from now on, and answers. */
  function answering(message: object, more: object = {}): OllamaCall[] {
    const calls: OllamaCall[] = [];
    world.ollama.script = (call, response) => {
      calls.push(call);
      const counts = { prompt_eval_count: 11, eval_count: 4 };
      sendLines(response, [
        { message: { role: 'assistant', ...message }, done: true, done_reason: 'stop', ...counts, ...more },
      ]);
      return true;
    };
    return calls;
  }

  const thrown = (work: Promise<unknown>) =>
    work.then(
      () => expect.unreachable('it should have been refused'),
      (error: InstanceType<typeof OpenAI.APIError>) => error,
    );

  it('is a task in the ledger, and answered when that has ended', async () => {
    const { data, response } = await openai.chat.completions
      .create({ model: 'tinyllama', messages: HELLO, metadata: { order: '7' }, user: 'somebody' })
      .withResponse();
    const id = response.headers.get('x-task-id');
    const task = await client.waitForEnd(id as string);
    expect(task).toMatchObject({
      ...{ type: 'chat', status: 'completed', metadata: { order: '7', user: 'somebody' } },
      input: { model: 'tinyllama', fallback: false, messages: HELLO },
    });
    expect(data).toEqual({
      id: `chatcmpl-${id}`,
      object: 'chat.completion',
      created: Math.floor(Date.parse(task.created_at as unknown as string) / 1000),
      model: 'tinyllama:latest',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'Hello from a scripted host', refusal: null },
          logprobs: null,
          finish_reason: 'stop',
        },
      ],
      usage: { prompt_tokens: 7, completion_tokens: 5, total_tokens: 12 },
    });
  });

  it('reaches the model with all that it says', async () => {
    const calls = answering({ content: 'A cat.' }, { done_reason: 'length' });
    const weather = { name: 'weather', description: 'Tells it', parameters: { type: 'object', properties: {} } };
    const { choices } = await openai.chat.completions.create({
      model: 'tinyllama',
      messages: [
        { role: 'developer', content: 'Be brief.' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'What is this?' },
            { type: 'image_url', image_url: { url: 'data:image/png;base64,aGVsbG8=' } },
            { type: 'text', text: 'In a word.' },
          ],
        },
        {
          role: 'assistant',
          content: null,
          tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Rome"}' } }],
        },
        { role: 'tool', tool_call_id: 'call_1', content: 'Sunny.' },
      ],
      tools: [{ type: 'function', function: { ...weather, strict: true } }],
      ...{ temperature: 0.5, top_p: 0.9, seed: 7, stop: ['END'], max_completion_tokens: 32, max_tokens: 99 },
      ...{ presence_penalty: 0.1, frequency_penalty: 0.2, n: 1, store: false, parallel_tool_calls: true },
      ...{ tool_choice: 'auto', reasoning_effort: 'low', logprobs: false },
    });
    expect(choices[0]).toMatchObject({ finish_reason: 'length', message: { content: 'A cat.' } });
    expect(calls[0]?.body).toEqual({
      model: 'tinyllama:latest',
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'What is this?\nIn a word.', images: ['aGVsbG8='] },
        {
          role: 'assistant',
          content: '',
          tool_calls: [{ id: 'call_1', function: { name: 'weather', arguments: { city: 'Rome' } } }],
        },
        { role: 'tool', content: 'Sunny.', tool_name: 'weather' },
      ],
      tools: [{ type: 'function', function: weather }],
      options: {
        ...{ temperature: 0.5, top_p: 0.9, seed: 7, stop: ['END'], num_predict: 32 },
        ...{ presence_penalty: 0.1, frequency_penalty: 0.2 },
      },
      think: 'low',
      ...{ stream: true, truncate: false },
    });
  });

  it('gets the tools that the model calls, and what it thought', async () => {
    const called = { function: { name: 'weather', arguments: { city: 'Rome' } } };
    answering({ content: '', thinking: 'They want the weather.', tool_calls: [called, { ...called, id: 'mine' }] });
    const request = { model: 'tinyllama', messages: HELLO };
    const { id, choices } = await openai.chat.completions.create(request);
    const { message, finish_reason } = choices[0]!;
    expect(finish_reason).toBe('tool_calls');
    expect(message).toEqual({
      ...{ role: 'assistant', content: null, refusal: null, reasoning: 'They want the weather.' },
      tool_calls: ['call_', 'mine'].map((start) => ({
        id: start === 'mine' ? 'mine' : `call_${id.replace('chatcmpl-', '').replaceAll('-', '')}_0`,
        type: 'function',
        function: { name: 'weather', arguments: '{"city":"Rome"}' },
      })),
    });
  });

  it('may ask for JSON, which is checked before it is answered', async () => {
    const schema = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };
    const calls = answering({ content: '{"name":"Ada"}' });
    const format = { type: 'json_schema' as const, json_schema: { name: 'person', strict: true, schema } };
    const { choices } = await openai.chat.completions.create({
      ...{ model: 'tinyllama', messages: HELLO },
      response_format: format,
    });
    expect(choices[0]?.message.content).toBe('{"name":"Ada"}');
    expect(calls[0]?.body.format).toEqual(schema);
    answering({ content: 'Ada!' });
    const request = { model: 'tinyllama', messages: HELLO, response_format: { type: 'json_object' as const }, seed: 1 };
    const error = await thrown(openai.chat.completions.create(request));
    expect(error).toMatchObject({ status: 500, code: 'invalid_output', type: 'server_error' });
    expect(error.headers?.get('x-should-retry')).toBe('false');
  });

  it('is cancelled when the client goes away', async () => {
    let asked: OllamaCall | undefined;
    world.ollama.script = (call) => {
      asked = call;
      return true;
    };
    const abort = new AbortController();
    const work = openai.chat.completions.create({ model: 'tinyllama', messages: HELLO }, { signal: abort.signal });
    await expect.poll(() => asked).toBeDefined();
    abort.abort();
    await expect(work).rejects.toBeInstanceOf(OpenAI.APIUserAbortError);
    expect(await asked?.closedEarly).toBe(true);
    const { body } = await client.request<{ data: Array<{ id: string }> }>('GET', '/api/v1/tasks?limit=1');
    expect(await client.waitForEnd(body.data[0]!.id)).toMatchObject({
      ...{ status: 'cancelled', cancel_reason: 'the client went away' },
    });
  });

  it('tells who waits that somebody else cancelled it', async () => {
    let asked: OllamaCall | undefined;
    world.ollama.script = (call) => {
      asked = call;
      return true;
    };
    const work = thrown(openai.chat.completions.create({ model: 'tinyllama', messages: HELLO }));
    await expect.poll(() => asked).toBeDefined();
    const { body } = await client.request<{ data: Array<{ id: string }> }>('GET', '/api/v1/tasks?limit=1');
    await client.request('POST', `/api/v1/tasks/${body.data[0]!.id}/cancel`);
    expect(await work).toMatchObject({ status: 409, code: 'task_cancelled' });
  });

  it('is bound by what its API key may do', async () => {
    const { body } = await client.request<{ key: string }>('POST', '/api/v1/api-keys', {
      ...{ name: 'embeds alone', task_types: ['embed'] },
    });
    const bound = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: body.key, maxRetries: 0 });
    const error = await thrown(bound.chat.completions.create({ model: 'tinyllama', messages: HELLO }));
    expect(error).toMatchObject({ status: 403, code: 'forbidden', type: 'permission_error' });
    expect((await bound.embeddings.create({ model: 'all-minilm', input: 'x' })).data).toHaveLength(1);
  });

  it('has embeddings beside it, in both encodings', async () => {
    const input = ['The cat sits.', 'A kitten rests.'];
    const packed = await openai.embeddings.create({ model: 'all-minilm', input, dimensions: 8 });
    const plain = await openai.embeddings.create({ model: 'all-minilm:latest', input, encoding_format: 'float' });
    expect(packed.data.map(({ index }) => index)).toEqual([0, 1]);
    expect(packed).toMatchObject({ object: 'list', model: 'all-minilm:latest' });
    expect(plain.data[1]?.embedding).toHaveLength(8);
    for (const [index, { embedding }] of packed.data.entries())
      for (const [at, value] of embedding.entries()) expect(value).toBeCloseTo(plain.data[index]!.embedding[at]!, 5);
    expect(plain.usage).toEqual({ prompt_tokens: 3, total_tokens: 3 });
    const asked = (body: object) =>
      client.request('POST', '/v1/embeddings', { model: 'all-minilm', input: 'x', ...body });
    for (const tokens of [
      [1, 2, 3],
      [[1, 2], [3]],
    ]) {
      const { errors } = expectProblem(await asked({ input: tokens }), 'validation_failed');
      expect(errors?.[0]).toMatchObject({
        pointer: '#/input',
        detail: expect.stringContaining('tokens are not taken'),
      });
    }
    expect(pointersOf(expectProblem(await asked({ dimensions: 256 }), 'validation_failed'))).toEqual(['#/dimensions']);
    expect(pointersOf(expectProblem(await asked({ input: ['x', ''] }), 'validation_failed'))).toEqual(['#/input/1']);
  });
});
