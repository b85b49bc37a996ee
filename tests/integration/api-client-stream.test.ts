import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Sutazai, type TaskEvent } from '../../src/client/index.ts';
import { startRelay } from '../support/relay.ts';
import { createSpeaker, type Speaker } from '../support/sse.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let user: Client;
let speaker: Speaker;
beforeAll(async () => {
  world = await createWorld();
  user = await world.client();
});
beforeEach(() => {
  speaker = createSpeaker();
  world.ollama.script = speaker.script;
});
afterAll(() => world.close());

const chat = { type: 'chat' as const, input: { messages: [{ role: 'user' as const, content: 'Tell me' }] } };

/** Reads a stream in the background. */
function follow(client: Sutazai, id: string, after?: string) {
  const events: TaskEvent[] = [];
  const ended = (async () => {
    for await (const event of client.tasks.stream(id, { after })) events.push(event);
  })();
  const outputs = () => events.filter((event) => event.type === 'output');
  const text = () => {
    let whole = '';
    for (const { offset, text: piece } of outputs()) {
      // Nothing may be missing, and nothing come twice.
      expect(offset).toBe(whole.length);
      whole += piece;
    }
    return whole;
  };
  const heard = (words: string) => until(`the words ${words}`, () => text().endsWith(words));
  return { events, ended, text, heard };
}

describe('the events of a task, read by the client', () => {
  it('come as they happen, and the task comes last', async () => {
    const client = new Sutazai({ baseUrl: world.url, token: user.token });
    const { id } = await client.tasks.submit(chat);
    const reader = follow(client, id);
    const speech = await speaker.call(0);
    for (const words of ['Once', ' upon', ' a time']) {
      speech.say(words);
      await reader.heard(words);
    }
    speech.finish();
    await reader.ended;
    const last = reader.events.at(-1);
    expect(last).toMatchObject({ type: 'completed', task: { id, status: 'completed' } });
    expect(last?.type === 'completed' && last.task.output).toMatchObject({ message: { content: 'Once upon a time' } });
    const entries = reader.events.flatMap((event) => ('entry' in event ? [event.entry] : []));
    expect(entries.map(({ type }) => type)).toEqual(['accepted', 'queued', 'started', 'attempt_ended']);
    const timeline = await client.tasks.timeline(id).page();
    // Of the end tells the event that brings the task.
    expect(timeline.data.slice(0, -1)).toEqual(entries);

    // From the middle on, and after the end.
    const rest = follow(client, id, entries[2]?.id);
    await rest.ended;
    expect(rest.events[0]).toEqual({ type: 'status', entry: entries[3] });
    expect(rest.events.at(-1)).toEqual(last);
  });

  it('go on without a gap or a repetition where the connection breaks again and again', async () => {
    const relay = await startRelay(world.url);
    const client = new Sutazai({ baseUrl: relay.url, token: user.token });
    const { id } = await client.tasks.submit(chat);
    const reader = follow(client, id);
    const speech = await speaker.call(0);
    let said = '';
    for (let round = 0; round < 3; round++) {
      speech.say(`${round} before. `);
      await reader.heard(`${round} before. `);
      relay.cut();
      speech.say(`${round} meanwhile. `);
      relay.mend();
      await reader.heard(`${round} meanwhile. `);
      said += `${round} before. ${round} meanwhile. `;
    }
    speech.finish();
    await reader.ended;
    expect(reader.text()).toBe(said);
    const ids = reader.events.flatMap((event) => ('entry' in event ? [event.entry.id] : []));
    expect(new Set(ids).size).toBe(ids.length);
    expect(reader.events.at(-1)).toMatchObject({ type: 'completed', task: { status: 'completed' } });
    await relay.close();
  });

  it('survive a restart of the API in the middle', async () => {
    const first = await world.join('api');
    const { port } = new URL(first.url as string);
    const client = new Sutazai({ baseUrl: first.url as string, token: user.token, maxRetries: 12 });
    const { id } = await client.tasks.submit(chat);
    const reader = follow(client, id);
    const speech = await speaker.call(0);
    speech.say('Before. ');
    await reader.heard('Before. ');
    await first.close();
    speech.say('Meanwhile. ');
    await world.join('api', { PORT: port });
    speech.say('After.');
    await reader.heard('After.');
    speech.finish();
    await reader.ended;
    expect(reader.text()).toBe('Before. Meanwhile. After.');
  });

  it('end at once with the signal, and with an error where there is no such task', async () => {
    const client = new Sutazai({ baseUrl: world.url, token: user.token });
    const { id } = await client.tasks.submit({ type: 'echo', input: { message: 'x' }, delay_seconds: 600 });
    const stop = new AbortController();
    const reading = (async () => {
      for await (const _ of client.tasks.stream(id, { signal: stop.signal })) stop.abort(new Error('enough'));
    })();
    await expect(reading).rejects.toThrow('enough');
    const none = client.tasks.stream('01980000-0000-7000-8000-000000000000');
    await expect(none.next()).rejects.toMatchObject({ code: 'not_found', status: 404 });
  });
});
