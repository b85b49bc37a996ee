import OpenAI from 'openai';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { sendLines } from '../support/fake-ollama.ts';
import { createSpeaker, type Speaker } from '../support/sse.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

type Event = OpenAI.Responses.ResponseStreamEvent;
type Events = AsyncIterable<Event>;
const REQUEST = { model: 'tinyllama', input: 'Tell me a story.' };
const TOOL = {
  ...{ type: 'function' as const, name: 'weather', strict: false },
  parameters: { type: 'object', properties: { city: { type: 'string' } } },
};

describe('a response by the official client of OpenAI', () => {
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

  const numbersOf = (events: Event[]) => events.map(({ sequence_number }) => sequence_number);
  const textOf = (events: Event[]) =>
    events.map((event) => (event.type === 'response.output_text.delta' ? event.delta : '')).join('');
  const resume = (id: string, starting_after?: number) =>
    openai.responses.retrieve(id, { stream: true, ...(starting_after === undefined ? {} : { starting_after }) });
  const all = async (events: Events) => Array.fromAsync(events);

  it('in the background is followed to its end after a dropped connection, with nothing twice and nothing left out', async () => {
    const stream = await openai.responses.create({ ...REQUEST, background: true, stream: true, metadata: { a: 'b' } });
    const speech = await speaker.call(0);
    speech.say('Once');
    const before: Event[] = [];
    for await (const event of stream) {
      before.push(event);
      if (textOf(before) === 'Once') speech.say(' upon 🦊');
      // The connection drops here; the model goes on.
      if (textOf(before) === 'Once upon 🦊') break;
    }
    const created = before[0] as OpenAI.Responses.ResponseCreatedEvent;
    expect(created).toMatchObject({ type: 'response.created', sequence_number: 0, response: { status: 'queued' } });
    const { id } = created.response;
    speech.say(' a time');
    const after: Event[] = [];
    for await (const event of await resume(id, before.at(-1)?.sequence_number)) {
      after.push(event);
      if (textOf(after) === ' a time') speech.finish();
    }
    const events = [...before, ...after];
    const numbers = numbersOf(events);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    expect(textOf(events)).toBe('Once upon 🦊 a time');
    expect(after.map(({ type }) => type)).toEqual([
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.completed',
    ]);
    const done = (after.at(-1) as OpenAI.Responses.ResponseCompletedEvent).response;
    const read = await openai.responses.retrieve(id);
    expect(read).toMatchObject({ ...done, status: 'completed', background: true, metadata: { a: 'b' } });
    expect(read.output_text).toBe('Once upon 🦊 a time');
    // It is a task like any other.
    const task = await client.waitForEnd(id.slice('resp_'.length));
    expect(task).toMatchObject({ type: 'chat', attempt: 1, metadata: { a: 'b' } });

    // From wherever one goes on, and whoever it is, it is the same response.
    const whole = await all(await resume(id));
    for (const number of [...numbersOf(whole), ...numbers]) {
      const rest = await all(await resume(id, number));
      expect(numbersOf(rest).every((one) => one > number)).toBe(true);
      const seen = textOf(events.filter(({ sequence_number }) => sequence_number <= number));
      expect(seen + textOf(rest), String(number)).toBe('Once upon 🦊 a time');
      if (number !== numbers.at(-1)) expect(rest.at(-1)?.type).toBe('response.completed');
    }
    const replayed = openai.responses.stream({ response_id: id, starting_after: 5 });
    expect((await replayed.finalResponse()).output_text).toBe('Once upon 🦊 a time');
  });

  it('whose attempt breaks off goes on with another one, as another item', async () => {
    const stream = await openai.responses.create({ ...REQUEST, background: true, stream: true });
    const events: Event[] = [];
    const first = await speaker.call(0);
    first.say('Twice');
    for await (const event of stream) {
      events.push(event);
      if (event.type === 'response.output_text.delta' && textOf(events) === 'Twice') {
        first.fail();
        void speaker.call(1).then((second) => {
          second.say('Once');
          second.finish();
        });
      }
    }
    const items = events.filter((event) => event.type === 'response.output_item.added');
    expect(items.map(({ output_index }) => output_index)).toEqual([0, 1]);
    expect(new Set(items.map(({ item }) => item.id)).size).toBe(2);
    const done = events.at(-1) as OpenAI.Responses.ResponseCompletedEvent;
    expect(done).toMatchObject({ type: 'response.completed', response: { output: [{ id: items[1]?.item.id }] } });
    const numbers = numbersOf(events);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    // Who has seen the text that was given up gets the other one whole.
    const cut = events.findIndex((event) => event.type === 'response.output_text.delta');
    expect(textOf(await all(await resume(done.response.id, numbers[cut])))).toBe('Once');
  });

  it('is answered at once where it is asked for so, with what was asked for in it', async () => {
    world.ollama.script = undefined;
    const answer = await openai.responses.create({
      ...{ ...REQUEST, instructions: 'Be brief.', temperature: 0.5, top_p: 0.9, max_output_tokens: 20 },
      input: [
        { role: 'user', content: [{ type: 'input_text', text: 'Hello' }] },
        { type: 'message', role: 'assistant', content: 'Hi' },
        { role: 'user', content: 'Go on' },
      ],
    });
    expect(answer).toMatchObject({ status: 'completed', instructions: 'Be brief.', temperature: 0.5, top_p: 0.9 });
    expect(answer).toMatchObject({
      max_output_tokens: 20,
      background: false,
      output_text: 'Hello from a scripted host',
    });
    expect(answer.usage).toMatchObject({ input_tokens: 7, output_tokens: 5, total_tokens: 12 });
    expect(world.ollama.calls.at(-1)?.body).toMatchObject({
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Hello' },
        { role: 'assistant', content: 'Hi' },
        { role: 'user', content: 'Go on' },
      ],
      options: { temperature: 0.5, top_p: 0.9, num_predict: 20 },
    });
    const runner = openai.responses.stream({ ...REQUEST, previous_response_id: answer.id });
    expect((await runner.finalResponse()).output_text).toBe('Hello from a scripted host');
    // The conversation goes on, the instructions do not.
    expect(world.ollama.calls.at(-1)?.body.messages).toMatchObject([
      ...[{ content: 'Hello' }, { content: 'Hi' }, { content: 'Go on' }, { content: 'Hello from a scripted host' }],
      { role: 'user', content: 'Tell me a story.' },
    ]);
  });

  it('calls tools, and goes on with what they answered', async () => {
    world.ollama.script = (_, response) => {
      const called = { function: { name: 'weather', arguments: { city: 'Rome' } } };
      // No task could be stored with it as it is.
      const textual = { function: { name: 'weather', arguments: String.raw`{"city":"\u0000Oslo"}` } };
      sendLines(response, [
        { message: { role: 'assistant', content: '', tool_calls: [called, textual] } },
        { message: { role: 'assistant', content: '' }, done: true, done_reason: 'stop', eval_count: 9 },
      ]);
      return true;
    };
    const runner = openai.responses.stream({ ...REQUEST, tools: [TOOL] });
    const first = await runner.finalResponse();
    expect(first.output).toMatchObject([{ type: 'function_call', name: 'weather', arguments: '{"city":"Rome"}' }, {}]);
    const [call] = first.output as OpenAI.Responses.ResponseFunctionToolCall[];
    world.ollama.script = undefined;
    const next = await openai.responses.create({
      ...{ model: 'tinyllama', previous_response_id: first.id, tools: [TOOL] },
      input: [{ type: 'function_call_output', call_id: call!.call_id, output: 'sunny' }],
    });
    expect(next.status).toBe('completed');
    const said = [
      { role: 'user' },
      { role: 'assistant', tool_calls: [{}, { function: { arguments: { city: 'Oslo' } } }] },
    ];
    expect(world.ollama.calls.at(-1)?.body.messages).toMatchObject([
      ...said,
      { role: 'tool', content: 'sunny', tool_name: 'weather' },
    ]);
    const again = openai.responses.create({
      ...REQUEST,
      input: [{ type: 'function_call_output', call_id: 'call_none', output: 'x' }],
    });
    await expect(again).rejects.toMatchObject({ status: 400, param: 'input[0].call_id' });
  });

  it('is cancelled, told so to who follows it, and deleted', async () => {
    const { id, status } = await openai.responses.create({ ...REQUEST, background: true });
    expect(status).toBe('queued');
    await speaker.call(0);
    const following = all((await resume(id)) as Events);
    await expect(openai.responses.delete(id)).rejects.toMatchObject({ status: 409, code: 'response_running' });
    expect((await openai.responses.cancel(id)).status).toBe('cancelled');
    const events = await following;
    expect(events.at(-1)).toMatchObject({ type: 'response.cancelled', response: { status: 'cancelled', output: [] } });
    expect((await openai.responses.cancel(id)).status).toBe('cancelled');
    await openai.responses.delete(id);
    await expect(openai.responses.retrieve(id)).rejects.toMatchObject({ status: 404 });
  });

  it('that fails, or is cut off, says why', async () => {
    world.ollama.script = (_, response) => {
      const done = { done: true, done_reason: 'length', eval_count: 3 };
      sendLines(response, [{ message: { role: 'assistant', content: 'Once up' }, ...done }]);
      return true;
    };
    const cut = await openai.responses.create({ ...REQUEST, max_output_tokens: 3 });
    expect(cut).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } });
    expect(cut).toMatchObject({ output_text: 'Once up' });
    world.ollama.script = (_, response) => {
      response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"it does not like this"}');
      return true;
    };
    const events = await all(await openai.responses.create({ ...REQUEST, background: true, stream: true }));
    const failed = events.at(-1) as OpenAI.Responses.ResponseFailedEvent;
    expect(failed).toMatchObject({ type: 'response.failed', response: { status: 'failed' } });
    expect(failed.response.error?.code).toBe('upstream_rejected');
    await expect(openai.responses.create(REQUEST)).rejects.toMatchObject({ status: 400, code: 'upstream_rejected' });
  });

  it('is refused where it asks for what is not there, and is nobody else’s', async () => {
    const refused = async (body: object, param: string) =>
      expect(openai.responses.create({ ...REQUEST, ...body }), param).rejects.toMatchObject({ status: 400, param });
    await refused({ store: false }, 'store');
    await refused({ tools: [{ type: 'web_search' }] }, 'tools[0].type');
    await refused({ conversation: 'conv_1' }, 'conversation');
    await refused({ previous_response_id: 'resp_x' }, 'previous_response_id');
    await refused({ nonsense: 1 }, 'nonsense');
    world.ollama.script = undefined;
    const { id } = await openai.responses.create(REQUEST);
    const other = new OpenAI({
      baseURL: `${world.url}/v1`,
      apiKey: (await world.client('admin')).token,
      maxRetries: 0,
    });
    await expect(other.responses.retrieve(id)).rejects.toMatchObject({ status: 404 });
    await expect(other.responses.create({ ...REQUEST, previous_response_id: id })).rejects.toMatchObject({
      status: 400,
    });
    // A task that nobody asked for in this way is no response.
    const chat = await client.submit('chat', { messages: [{ role: 'user', content: 'x' }] });
    await expect(openai.responses.retrieve(`resp_${chat.id}`)).rejects.toMatchObject({ status: 404 });
    expect((await client.request('GET', `/v1/responses/${id}?starting_after=3`)).status).toBe(400);
  });
});
