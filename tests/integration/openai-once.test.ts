import OpenAI, { toFile } from 'openai';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { sendLines } from '../support/fake-ollama.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const REQUEST = { model: 'tinyllama', messages: [{ role: 'user' as const, content: 'Hello!' }] };
let world: World;
let client: Client;
let openai: OpenAI;
beforeAll(async () => {
  world = await createWorld();
  client = await world.client();
  openai = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: client.token, maxRetries: 0 });
});
afterAll(() => world.close());
afterEach(() => {
  world.ollama.script = undefined;
});

const under = (key: string) => ({ headers: { 'Idempotency-Key': key } });
const thrown = (work: Promise<unknown>) =>
  work.then(
    () => expect.unreachable('it should have been refused'),
    (error: InstanceType<typeof OpenAI.APIError>) => error,
  );

async function streamed(key: string): Promise<string> {
  let text = '';
  for await (const { choices } of await openai.chat.completions.create({ ...REQUEST, stream: true }, under(key)))
    text += choices[0]?.delta.content ?? '';
  return text;
}

it('a chat with an Idempotency-Key is done once, and goes on when the client goes away', async () => {
  let asked = 0;
  const { promise: hold, resolve: go } = Promise.withResolvers<void>();
  world.ollama.script = async (_, response) => {
    asked++;
    await hold;
    sendLines(response, [{ message: { role: 'assistant', content: 'Once.' }, done: true, done_reason: 'stop' }]);
    return true;
  };
  const abort = new AbortController();
  const work = openai.chat.completions.create(REQUEST, { ...under('chat-1'), signal: abort.signal });
  await expect.poll(() => asked).toBe(1);
  abort.abort();
  await expect(work).rejects.toBeInstanceOf(OpenAI.APIUserAbortError);
  const again = openai.chat.completions.create(REQUEST, under('chat-1')).withResponse();
  go();
  const { data, response } = await again;
  expect(data.choices[0]?.message.content).toBe('Once.');
  expect(response.headers.get('idempotency-replayed')).toBe('true');
  expect([await streamed('chat-2'), await streamed('chat-2')]).toEqual(['Once.', 'Once.']);
  expect(asked).toBe(2);
  const other = openai.chat.completions.create({ ...REQUEST, seed: 1 }, under('chat-1'));
  expect(await thrown(other)).toMatchObject({ status: 400, code: 'idempotency_key_reused' });
});

it('embeddings and responses with an Idempotency-Key are those of the first request', async () => {
  const embed = () => openai.embeddings.create({ model: 'all-minilm', input: 'a cat' }, under('embed')).withResponse();
  const [first, second] = [await embed(), await embed()];
  expect(second.data).toEqual(first.data);
  expect(second.response.headers.get('x-task-id')).toBe(first.response.headers.get('x-task-id'));
  for (const background of [true, false]) {
    const respond = () =>
      openai.responses.create({ model: 'tinyllama', input: 'Hello!', background }, under(`response-${background}`));
    expect((await respond()).id).toBe((await respond()).id);
  }
});

it('a request with an Idempotency-Key gets its answer also where it would be refused by now', async () => {
  const { id } = await openai.responses.create({ model: 'tinyllama', input: 'Hello!' });
  const go = () =>
    openai.responses.create({ model: 'tinyllama', input: 'And then?', previous_response_id: id }, under('go-on'));
  const first = await go();
  await openai.responses.delete(id);
  expect((await go()).id).toBe(first.id);
  const anew = { model: 'tinyllama', input: 'And then?', previous_response_id: id };
  expect(await thrown(openai.responses.create(anew))).toMatchObject({ status: 400, param: 'previous_response_id' });
});

it('an answer that is cut off comes as it is, also where JSON was asked for', async () => {
  world.ollama.script = (_, response) => {
    const message = { role: 'assistant', content: '{"name":"A' };
    sendLines(response, [{ message, done: true, done_reason: 'length' }]);
    return true;
  };
  const response_format = { type: 'json_object' as const };
  const { choices } = await openai.chat.completions.create({ ...REQUEST, response_format });
  expect(choices).toMatchObject([{ finish_reason: 'length', message: { content: '{"name":"A' } }]);
  // A task of one's own wants no half of an answer, unless it says so.
  const input = { messages: REQUEST.messages, format: 'json' };
  expect((await client.runTask('chat', input, { max_attempts: 1 })).error).toMatchObject({ code: 'invalid_output' });
  const half = await client.runTask('chat', { ...input, partial: true }, { max_attempts: 1 });
  expect(half.output).toMatchObject({ message: { content: '{"name":"A' }, done_reason: 'length' });
});

it('a line of a batch tells of a model that cannot chat as the direct call does', async () => {
  const body = { ...REQUEST, model: 'all-minilm' };
  const direct = await thrown(openai.chat.completions.create(body));
  expect(direct).toMatchObject({ status: 400, code: 'unsupported_model', param: 'model' });
  const line = JSON.stringify({ custom_id: 'chat', method: 'POST', url: '/v1/chat/completions', body });
  const file = await openai.files.create({ purpose: 'batch', file: await toFile(Buffer.from(line), 'lines.jsonl') });
  const about = { endpoint: '/v1/chat/completions', completion_window: '24h' } as const;
  const { id } = await openai.batches.create({ ...about, input_file_id: file.id });
  const done = await until('the batch has ended', async () => {
    const batch = await openai.batches.retrieve(id);
    return batch.status === 'completed' && batch;
  });
  const told = JSON.parse(await (await openai.files.content(done.error_file_id as string)).text());
  expect(told.error).toMatchObject({ code: direct.code, param: direct.param, line: 1 });
  expect(told.response).toMatchObject({ status_code: direct.status, body: { error: direct.error } });
});
