import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addAgent } from '../support/add-agent.ts';
import { json, type Reaction, type ScriptedHttp, startScriptedHttp } from '../support/scripted-http.ts';
import { readEvents } from '../support/sse.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const chunk = (delta: object, finish_reason: string | null = null) => ({
  ...{ id: 'c1', object: 'chat.completion.chunk', created: 1, model: 'their-model' },
  choices: [{ index: 0, delta, finish_reason }],
});

/** A stream of chat completions in these pieces of bytes. */
const stream =
  (...pieces: Array<string | Buffer>): Reaction =>
  (answer) => {
    answer.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    for (const piece of pieces) answer.write(piece);
    answer.end();
  };
const event = (data: unknown) => `data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`;

describe('an agent of the type openai', () => {
  let world: World;
  let client: Client;
  let host: ScriptedHttp;
  beforeAll(async () => {
    world = await createWorld();
    client = await world.client();
    host = await startScriptedHttp();
    await addAgent(world, {
      ...{ name: 'gpt', type: 'openai', userId: client.userId, endpoint: host.url },
      secrets: { api_key: 'sk-1234567' },
      config: {
        ...{ model: 'their-model', system: 'Be short.', options: { temperature: 0, max_tokens: 50 } },
        max_response_bytes: 200,
      },
    });
  });
  afterAll(async () => {
    await world.close();
    await host.close();
  });
  const ask = (input: unknown, more = {}) => client.runTask('agent.run', { agent: 'gpt', input }, more);

  it('asks as OpenAI is asked, and hands the text on as it comes', async () => {
    const whole = Buffer.from(
      event(chunk({ role: 'assistant', content: '' })) +
        event(chunk({ content: 'Grüße' })) +
        event(chunk({ content: ' für dich' })) +
        event(chunk({}, 'stop')) +
        event({ ...chunk({}), choices: [], usage: { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 } }) +
        event('[DONE]'),
    );
    // Within the two bytes of a letter.
    const cut = whole.lastIndexOf(Buffer.from('ü')) + 1;
    let release = () => {};
    const asked = new Promise<void>((resolve) =>
      host.script((answer) => {
        release = () => {
          answer.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' }).write(whole.subarray(0, cut));
          release = () => answer.end(whole.subarray(cut));
        };
        resolve();
      }),
    );
    const { id } = await client.submit('agent.run', { agent: 'gpt', input: 'Say hello.' });
    const reader = await readEvents(`${world.url}/api/v1/tasks/${id}/events`, {
      authorization: `Bearer ${client.token}`,
    });
    await asked;
    release();
    await reader.until('the first piece', ({ event, data }) => event === 'output' && data.text === 'Grüße');
    release();
    expect(await reader.ended).toMatchObject({
      status: 'completed',
      output: {
        status: 200,
        output: { text: 'Grüße für dich', finish_reason: 'stop', model: 'their-model' },
        usage: { input_tokens: 9, output_tokens: 3 },
      },
      usage: { input_tokens: 9, output_tokens: 3 },
    });
    expect(reader.text()).toBe('Grüße für dich');
    expect(host.asked).toMatchObject([
      { method: 'POST', url: '/v1/chat/completions', headers: { authorization: 'Bearer sk-1234567' } },
    ]);
    expect(JSON.parse(host.asked[0]?.body ?? '')).toEqual({
      ...{ temperature: 0, max_tokens: 50, model: 'their-model' },
      messages: [
        { role: 'system', content: 'Be short.' },
        { role: 'user', content: 'Say hello.' },
      ],
      ...{ stream: true, stream_options: { include_usage: true } },
    });
  });

  it('takes a whole answer from a host that knows no streams, and a conversation as its input', async () => {
    const choices = [{ index: 0, message: { role: 'assistant', content: 'Hello.' }, finish_reason: 'stop' }];
    host.script(json(200, { model: 'other', choices, usage: { prompt_tokens: 1, completion_tokens: 2 } }));
    const messages = [
      { role: 'user', content: [{ type: 'text', text: 'a' }] },
      { role: 'assistant', content: 'b' },
    ];
    expect((await ask({ messages })).output).toMatchObject({
      output: { text: 'Hello.', finish_reason: 'stop', model: 'other' },
      usage: { input_tokens: 1, output_tokens: 2 },
    });
    expect(JSON.parse(host.asked[0]?.body ?? '').messages.slice(1)).toEqual(messages);
  });

  it('asks again where an answer breaks off, because nothing was done', async () => {
    host.script(
      stream(event(chunk({ content: 'Half' }))),
      json(500, {}),
      stream(event(chunk({ content: 'All' })), event(chunk({}, 'length'))),
    );
    expect(await ask('x')).toMatchObject({
      ...{ status: 'completed', attempt: 3 },
      output: { output: { text: 'All', finish_reason: 'length' } },
    });
  });

  it.each([
    ['no completion', json(200, { choices: 'x' }), 'upstream_protocol', 'answered no chat completion'],
    ['an error within its stream', stream(event({ error: { message: 'no' } })), 'upstream_protocol', '"no"'],
    ['too long a text', stream(event(chunk({ content: 'x'.repeat(201) }))), 'output_too_large', '200 bytes'],
    ['an event without an end', stream(`data: ${'x'.repeat(7_000)}`), 'output_too_large', '200 bytes'],
    ['that the key is wrong', json(401, { error: 'bad key' }), 'upstream_rejected', 'bad key'],
  ])('fails where the host answers %s', async (_, reaction, code, said) => {
    host.script(reaction);
    const { error } = await ask('x', { max_attempts: 1 });
    expect(error).toMatchObject({ code, message: expect.stringContaining(said) });
  });

  it('is not asked again after half an answer where it may not be', async () => {
    const config = { model: 'their-model', retries: false };
    await addAgent(world, { name: 'once', type: 'openai', userId: client.userId, endpoint: host.url, config });
    for (const half of [stream(event(chunk({ content: 'Half' }))), json(200, { choices: [] })]) {
      host.script(half);
      expect(await client.runTask('agent.run', { agent: 'once', input: 'x' })).toMatchObject({
        ...{ status: 'failed', attempt: 1 },
        error: { code: 'upstream_protocol', retryable: false },
      });
      expect(host.asked).toHaveLength(1);
    }
  });

  it('tells nobody its key, in whatever pieces and places the host sends it back', async () => {
    host.script(
      stream(
        event(chunk({ content: 'It is sk-12' })),
        event(chunk({ content: '34567.' })),
        event({ ...chunk({}, 'stop'), model: 'of sk-1234567' }),
      ),
    );
    expect((await ask('x')).output).toMatchObject({ output: { text: 'It is ***.', model: 'of ***' } });
    host.script(stream(event({ error: 'sk-1234567 is wrong' })));
    expect((await ask('x', { max_attempts: 1 })).error?.message).toContain('*** is wrong');
    host.script(json(200, { error: 'sk-1234567 is wrong' }));
    expect((await ask('x', { max_attempts: 1 })).error?.message).toContain('*** is wrong');
    // Not to be seen before it is parsed.
    host.script((answer) =>
      answer.writeHead(200, { 'content-type': 'application/json' }).end('{"error":"sk-123456\\u0037 is wrong"}'),
    );
    expect((await ask('x', { max_attempts: 1 })).error?.message).toContain('*** is wrong');
  });

  it.each([5, { prompt: 'x' }, { messages: [] }, { messages: [{}] }])('refuses the input %j', async (input) => {
    host.script(json(200, {}));
    expect((await ask(input)).error).toMatchObject({ code: 'invalid_input' });
    expect(host.asked).toEqual([]);
  });
});
