import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createSpeaker, type EventReader, readEvents, type Speaker } from '../support/sse.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let client: Client;
let other: string;
let speaker: Speaker;
const readers: EventReader[] = [];
beforeAll(async () => {
  // The readers ask one process, a second one has other readers, and a third one works.
  world = await createWorld({ env: { WORKER_LANES: 'webhook' } });
  other = (await world.join('api')).url as string;
  await world.join('worker', { WORKER_LANES: 'llm,system', WORKER_CONCURRENCY: '4' });
  client = await world.client();
});
beforeEach(() => {
  speaker = createSpeaker();
  world.ollama.script = speaker.script;
});
afterAll(async () => {
  for (const reader of readers) reader.close();
  await world.close();
});

async function follow(id: string, { url = world.url, after = '', headers = {} } = {}): Promise<EventReader> {
  const reader = await readEvents(`${url}/api/v1/tasks/${id}/events${after && `?after=${after}`}`, {
    authorization: `Bearer ${client.token}`,
    ...headers,
  });
  readers.push(reader);
  return reader;
}

const chat = () => client.submit('chat', { messages: [{ role: 'user', content: 'Tell me something.' }] });
const typesOf = (reader: EventReader) =>
  reader.events.map(({ event, data }) => (event === 'status' ? data.type : event));

describe('the events of a task', () => {
  it('bring the text of a model in order while another process runs it, then the final task, and end', async () => {
    const { id, urls } = await chat();
    expect(urls.events).toBe(`${world.url}/api/v1/tasks/${id}/events`);
    const reader = await follow(id);
    expect(reader.status).toBe(200);
    expect(reader.headers.get('content-type')).toBe('text/event-stream');
    expect(reader.headers.get('cache-control')).toBe('no-cache, no-transform');
    expect(reader.headers.get('x-accel-buffering')).toBe('no');
    const speech = await speaker.call(0);
    for (const word of ['Once', ' upon', ' a time']) {
      speech.say(word);
      await reader.until(
        `the word${word}`,
        ({ event, data }) => event === 'output' && String(data.text).includes(word),
      );
    }
    expect(reader.named('completed')).toEqual([]);
    speech.say(' 🦊 \u0000there was.');
    speech.finish();
    const final = await reader.ended;
    expect(reader.text()).toBe('Once upon a time 🦊 there was.');
    expect(final).toMatchObject({ id, status: 'completed', output: { message: { content: reader.text() } } });
    expect(typesOf(reader).filter((type) => type !== 'output')).toEqual([
      'accepted',
      'queued',
      'started',
      'attempt_ended',
      'completed',
    ]);
    expect(reader.events.at(-1)?.event).toBe('completed');
    // The text is there before the end of its attempt is told.
    expect(typesOf(reader).lastIndexOf('output')).toBeLessThan(typesOf(reader).indexOf('attempt_ended'));
    expect(reader.named('output').every(({ id: has }) => has === undefined)).toBe(true);
    expect(reader.retries[0]).toBeGreaterThan(0);
    const { body } = await client.request('GET', `/api/v1/tasks/${id}`);
    expect(final).toEqual(body);
  });

  it('reach several readers of several processes, and one who comes late gets the text from its beginning', async () => {
    const { id } = await chat();
    const early = [await follow(id), await follow(id, { url: other })];
    const speech = await speaker.call(0);
    speech.say('The first half,');
    await Promise.all(early.map((reader) => reader.until('the first half', ({ event }) => event === 'output')));
    const late = [await follow(id), await follow(id, { url: other })];
    await Promise.all(late.map((reader) => reader.until('what was said', ({ event }) => event === 'output')));
    speech.say(' and the second.');
    speech.finish();
    for (const reader of [...early, ...late]) {
      expect(await reader.ended).toMatchObject({ status: 'completed' });
      expect(reader.text()).toBe('The first half, and the second.');
    }
  });

  it('come from a task that runs already when the first reader arrives, also where it says nothing more', async () => {
    const { id } = await chat();
    const speech = await speaker.call(0);
    speech.say('Said before.');
    const reader = await follow(id, { url: other });
    await reader.until('what was said', ({ event, data }) => event === 'output' && data.text === 'Said before.');
    speech.finish();
    expect(await reader.ended).toMatchObject({ status: 'completed' });
    expect(reader.text()).toBe('Said before.');
  });

  it('come to another process that asks when all was said to the first', async () => {
    const { id } = await chat();
    const first = await follow(id);
    const speech = await speaker.call(0);
    speech.say('Said to one.');
    await first.until('what was said', ({ event }) => event === 'output');
    const second = await follow(id, { url: other });
    await second.until('the same', ({ event, data }) => event === 'output' && data.text === 'Said to one.');
    speech.finish();
    await Promise.all([first.ended, second.ended]);
    expect([first.text(), second.text()]).toEqual(['Said to one.', 'Said to one.']);
  });

  it('start the text anew with the next attempt', async () => {
    const { id } = await chat();
    const reader = await follow(id);
    const first = await speaker.call(0);
    first.say('The first attempt says this');
    await reader.until('the first text', ({ event }) => event === 'output');
    first.fail();
    const second = await speaker.call(1);
    second.say('The second');
    second.say(' says that');
    second.finish();
    expect(await reader.ended).toMatchObject({ status: 'completed', attempt: 2 });
    expect(reader.text(1)).toBe('The first attempt says this');
    expect(reader.text(2)).toBe('The second says that');
    expect(reader.named('output').find(({ data }) => data.attempt === 2)?.data.offset).toBe(0);
    const outcomes = reader.events.filter(({ data }) => data.type === 'attempt_ended').map(({ data }) => data.outcome);
    expect(outcomes).toEqual(['retry', 'completed']);
  });
});
