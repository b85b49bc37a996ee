import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sendJson } from '../support/fake-ollama.ts';
import { expectProblem } from '../support/problem.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const HELLO = [{ role: 'user' as const, content: 'Hello!' }];

describe('what goes wrong below /v1', () => {
  let world: World;
  let client: Client;
  let openai: OpenAI;
  beforeAll(async () => {
    world = await createWorld({ env: { MAX_BODY_BYTES: '4096' } });
    client = await world.client();
    openai = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: client.token, maxRetries: 0 });
  });
  afterAll(() => world.close());

  it('is 503 with a time to come back while no host answers', async () => {
    world.ollama.everything = (_, response) => {
      response.destroy();
      return true;
    };
    // Nothing was listed before, so nothing is remembered.
    const answer = await client.request('GET', '/v1/models');
    world.ollama.everything = undefined;
    expectProblem(answer, 'temporary-reduced-capacity');
    expect(answer.headers.get('retry-after')).toBe('5');
  });

  it('has the shape of OpenAI, also where there is no route', async () => {
    const request = (method: string, path: string, body?: unknown) => client.request(method, path, body);
    expectProblem(await world.anonymous.request('GET', '/v1/models'), 'unauthorized');
    expectProblem(await request('GET', '/v1/nothing'), 'not_found');
    expectProblem(await request('GET', '/v1'), 'not_found');
    const wrongMethod = await request('DELETE', '/v1/models');
    expectProblem(wrongMethod, 'method_not_allowed');
    expect(wrongMethod.headers.get('allow')).toBe('GET');
    expectProblem(await request('POST', '/v1/models', { a: 'x'.repeat(5_000) }), 'body_too_large');
    const query = await request('GET', '/v1/models?what=1');
    expect(expectProblem(query, 'validation_failed').errors).toEqual([
      { pointer: '#/what', detail: 'The query is not valid. what is not known here.' },
    ]);
    // Other paths are not OpenAI's.
    expect(expectProblem(await request('GET', '/v10'), 'not_found').instance).toBe('/v10');
  });

  it('is thrown by the official client as the class that belongs to it, with the request id', async () => {
    const stranger = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: 'sk_nobody', maxRetries: 0 });
    await expect(stranger.models.list()).rejects.toMatchObject({
      ...{ name: 'Error', status: 401, code: 'invalid_api_key', type: 'authentication_error' },
      requestID: expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
    await expect(stranger.models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
    const missing = openai.models.retrieve('gpt-4o');
    await expect(missing).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    await expect(missing).rejects.toMatchObject({ code: 'model_not_found', param: 'model' });
    await expect(missing).rejects.toThrow('there are tinyllama:latest, all-minilm:latest');
  });

  it('is nothing where a model is there', async () => {
    const listed = [];
    for await (const model of openai.models.list()) listed.push(model.id);
    expect(listed).toEqual(['tinyllama:latest', 'all-minilm:latest']);
    expect(await openai.models.retrieve('tinyllama')).toEqual({
      ...{ id: 'tinyllama:latest', object: 'model', created: 0, owned_by: 'ollama' },
    });
  });

  const thrown = (work: Promise<unknown>) =>
    work.then(
      () => expect.unreachable('it should have been refused'),
      (error: InstanceType<typeof OpenAI.APIError>) => error,
    );

  it.each([
    [{ n: 2 }, 'n', 'must be 1'],
    [{ logprobs: true }, 'logprobs', 'must be false'],
    [{ tool_choice: 'required' }, 'tool_choice', 'must be auto or none'],
    [{ parallel_tool_calls: false }, 'parallel_tool_calls', 'must be true'],
    [{ logit_bias: { 50256: -100 } }, 'logit_bias', 'is not supported'],
    [{ functions: [] }, 'functions', 'is not supported'],
    [{ service_tier: 'flex' }, 'service_tier', 'must be auto or default'],
    [{ num_gpu: 1 }, 'num_gpu', 'is not known here'],
    [{ max_tokens: 0 }, 'max_tokens', 'must be a whole number from 1 to 1048576'],
    [{ messages: [] }, 'messages', 'at least one'],
    [{ messages: [{ role: 'king', content: 'x' }] }, 'messages[0].role', 'must be'],
    [
      {
        messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'https://example.com/a.png' } }] }],
      },
      'messages[0].content[0].image_url.url',
      'remote images are not fetched',
    ],
    [
      { messages: [{ role: 'tool', tool_call_id: 'nobody', content: 'x' }] },
      'messages[0].tool_call_id',
      'is not the id of a tool call',
    ],
    [
      {
        messages: [
          {
            role: 'assistant',
            tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: String.raw`{"a":"\u0000"}` } }],
          },
        ],
      },
      'messages[0].tool_calls[0].function.arguments',
      'NUL',
    ],
    [
      {
        response_format: {
          type: 'json_schema',
          json_schema: { name: 'x', schema: { properties: { a: { type: 'text' } } } },
        },
      },
      'response_format.json_schema.schema.properties.a.type',
      'is not JSON Schema',
    ],
    [{ model: '' }, 'model', 'must not be empty'],
  ])('is a chat that asks for what cannot be done, refused by the name of the field: %j', async (more, param, text) => {
    const before = world.ollama.calls.length;
    const request = { model: 'tinyllama', messages: HELLO, ...more };
    const error = await thrown(openai.chat.completions.create(request as never));
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error).toMatchObject({ param, type: 'invalid_request_error', code: 'validation_failed' });
    expect(error.message).toContain(text);
    expect(world.ollama.calls.length).toBe(before);
  });

  it('is a chat whose model is not there: no other one answers', async () => {
    const missing = await thrown(openai.chat.completions.create({ model: 'gpt-4o', messages: HELLO }));
    expect(missing).toMatchObject({ status: 404, code: 'model_not_found', param: 'model' });
    const embedder = await thrown(openai.chat.completions.create({ model: 'all-minilm', messages: HELLO }));
    expect(embedder).toMatchObject({ status: 400, code: 'unsupported_model', param: 'model' });
  });

  it('is a task that failed, said with the status that fits, and that there is no use in another try', async () => {
    world.ollama.script = (_, response) => {
      sendJson(response, 400, { error: '"tinyllama" does not support tools' });
      return true;
    };
    const refused = await thrown(openai.chat.completions.create({ model: 'tinyllama', messages: HELLO }));
    expect(refused).toMatchObject({ status: 400, code: 'upstream_rejected' });
    expect(refused.message).toContain('does not support tools');
    expect(refused.headers?.get('x-task-id')).toMatch(/^[0-9a-f-]{36}$/);
    world.ollama.script = (_, response) => {
      sendJson(response, 400, { error: 'the input length exceeds the context length' });
      return true;
    };
    const long = await thrown(openai.chat.completions.create({ model: 'tinyllama', messages: HELLO }));
    expect(long).toMatchObject({ status: 400, code: 'context_length_exceeded' });
  });

  it('is a model that the role of the user may not use, which is not listed either', async () => {
    const api = await world.join('api', { MODELS_BY_ROLE: 'user:all-minilm' });
    const bound = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: client.token, maxRetries: 0 });
    expect((await bound.models.list()).data.map(({ id }) => id)).toEqual(['all-minilm:latest']);
    expect(await thrown(bound.models.retrieve('tinyllama'))).toMatchObject({ status: 404, code: 'model_not_found' });
    const refused = await thrown(bound.chat.completions.create({ model: 'tinyllama', messages: HELLO }));
    expect(refused).toMatchObject({ status: 403, code: 'forbidden', param: 'model' });
    const chat = await fetch(`${api.url}/api/v1/chat`, {
      ...{ method: 'POST', headers: { authorization: `Bearer ${client.token}`, 'content-type': 'application/json' } },
      body: JSON.stringify({ messages: HELLO, model: 'tinyllama' }),
    });
    const { errors } = (await chat.json()) as { errors: Array<{ pointer: string }> };
    expect([chat.status, errors[0]?.pointer]).toEqual([403, '#/model']);
    await api.close();
  });
});
