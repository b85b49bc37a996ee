import OpenAI from 'openai';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { sendLines } from '../support/fake-ollama.ts';
import { createSpeaker, type Speaker } from '../support/sse.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

type Event = OpenAI.Responses.ResponseStreamEvent;
const REQUEST = { model: 'tinyllama', input: 'Tell me a story.' };
const textOf = (event: Event) => (event.type === 'response.output_text.delta' ? event.delta : '');

describe('a response', () => {
  let world: World;
  let client: Client;
  let openai: OpenAI;
  let speaker: Speaker;
  beforeAll(async () => {
    world = await createWorld();
    client = await world.client();
    openai = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: client.token, maxRetries: 0 });
  });
  beforeEach(() => {
    speaker = createSpeaker();
    world.ollama.script = speaker.script;
  });
  afterAll(() => world.close());

  it('in the foreground is cancelled when its credential ends, which is said to its reader', async () => {
    const other = await world.client();
    const theirs = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: other.token, maxRetries: 0 });
    const stream = await theirs.responses.create({ ...REQUEST, stream: true });
    const speech = await speaker.call(0);
    speech.say('Once');
    const read = (async () => {
      for await (const event of stream)
        if (textOf(event) === 'Once') await other.request('POST', '/api/v1/auth/logout');
    })();
    await expect(read).rejects.toMatchObject({ code: 'invalid_api_key' });
    expect(await speech.closedEarly).toBe(true);
  });

  it('in the foreground is cancelled where the server stops, in the background it is not', async () => {
    const api = await world.join('api');
    const there = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: client.token, maxRetries: 0 });
    const [own, background] = await Promise.all([
      there.responses.create({ ...REQUEST, stream: true }),
      there.responses.create({ ...REQUEST, stream: true, background: true }),
    ]);
    for (const index of [0, 1]) (await speaker.call(index)).say('Once');
    const readAll = [own, background].map((stream) => Array.fromAsync(stream as AsyncIterable<Event>));
    const [ofOwn, ofOther] = await Promise.all([...readAll.map((work) => work.catch((error) => error)), api.close()]);
    expect(ofOwn).toMatchObject({ code: 'temporary-reduced-capacity' });
    const { response } = (ofOther as Event[])[0] as OpenAI.Responses.ResponseCreatedEvent;
    expect((await openai.responses.retrieve(response.id)).status).toBe('in_progress');
    await openai.responses.cancel(response.id);
    const { body } = await client.request<{ data: object[] }>('GET', '/api/v1/tasks?limit=2');
    expect(body.data).toContainEqual(expect.objectContaining({ cancel_reason: 'the server stops' }));
  });

  it('goes on also where a model gave a tool no JSON', async () => {
    world.ollama.script = (_, response) => {
      const called = { function: { name: 'weather', arguments: 'in Rome' } };
      const message = { role: 'assistant', content: '', tool_calls: [called] };
      sendLines(response, [{ message, done: true, done_reason: 'stop', eval_count: 9 }]);
      return true;
    };
    const first = await openai.responses.create(REQUEST);
    expect(first.output).toMatchObject([{ type: 'function_call', arguments: 'in Rome' }]);
    world.ollama.script = undefined;
    const [call] = first.output as OpenAI.Responses.ResponseFunctionToolCall[];
    const output = { type: 'function_call_output' as const, call_id: call!.call_id, output: 'sunny' };
    await openai.responses.create({ model: 'tinyllama', previous_response_id: first.id, input: [output] });
    const [, said] = world.ollama.calls.at(-1)!.body.messages as object[];
    expect(said).toMatchObject({ tool_calls: [{ function: { name: 'weather', arguments: { text: 'in Rome' } } }] });
  });

  it('and a file are read out to no key that may not read them', async () => {
    world.ollama.script = undefined;
    const { id } = await openai.responses.create(REQUEST);
    const { id: input_file_id } = await openai.files.create({ file: new File(['{}'], 'x.jsonl'), purpose: 'batch' });
    const named = { name: 'asks alone', scopes: ['tasks:create', 'batches:write'] };
    const { key } = (await client.request<{ key: string }>('POST', '/api/v1/api-keys', named)).body;
    const blind = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: key, maxRetries: 0 });
    expect((await blind.responses.create(REQUEST)).status).toBe('completed');
    const refusal = { status: 403, code: 'forbidden' };
    await expect(blind.responses.create({ ...REQUEST, previous_response_id: id })).rejects.toMatchObject(refusal);
    const batch = { input_file_id, endpoint: '/v1/chat/completions' as const, completion_window: '24h' as const };
    await expect(blind.batches.create(batch)).rejects.toMatchObject(refusal);
  });
});
