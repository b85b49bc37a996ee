import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isAfter } from '../../src/db/tasks/timeline.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { readEvents } from '../support/sse.ts';
import { until } from '../support/until.ts';
import { type Answer, type Client, createWorld, type World } from '../support/world.ts';

interface Event extends Record<string, unknown> {
  id: string;
  at: string;
  type: string;
}

interface Page {
  data: Event[];
  next_cursor: string | null;
}

let world: World;
let client: Client;
let sink: Sink;
beforeAll(async () => {
  world = await createWorld();
  client = await world.client();
});
afterAll(() => world.close());
beforeEach(async () => {
  sink = await startSink();
});
afterEach(() => sink.close());

async function timeline(id: string, query = ''): Promise<Event[]> {
  const { body, status } = await client.request<{ data: Event[] }>('GET', `/api/v1/tasks/${id}/timeline${query}`);
  expect(status).toBe(200);
  return body.data;
}
const typesOf = (events: Event[]) => events.map(({ type }) => type);

describe('the timeline of a task', () => {
  it('tells what happened in order, also of a run that was taken back, and a stream tells the same', async () => {
    const { id } = await client.runTask('echo', { message: 'x' }, { webhook: { url: sink.url } });
    const first = await until('the delivery', async () => {
      const events = await timeline(id);
      return events.at(-1)?.type === 'webhook' && events;
    });
    expect(typesOf(first)).toEqual(['accepted', 'queued', 'started', 'attempt_ended', 'ended', 'webhook']);
    expect(first[3]).toMatchObject({ status: 'completed', attempt: 1, outcome: 'completed', error: null });
    expect(first[4]).toMatchObject({ status: 'completed', attempt: 1 });
    expect(first[5]).toMatchObject({
      event: 'task.completed',
      url: sink.url,
      http_status: 204,
      failure: null,
      status: null,
    });
    expect(first[5]?.latency_ms).toEqual(expect.any(Number));

    await client.request('POST', `/api/v1/tasks/${id}/retry`);
    await client.waitForEnd(id);
    const second = await timeline(id);
    expect(second.slice(0, first.length)).toEqual(first);
    expect(typesOf(second.slice(first.length, first.length + 4))).toEqual([
      'retried',
      'started',
      'attempt_ended',
      'ended',
    ]);
    expect(second[first.length]).toMatchObject({ by: client.username, status: 'pending', attempt: 1 });
    for (const [index, { id: next }] of second.entries())
      if (index > 0) expect(isAfter(next, second[index - 1]?.id as string)).toBe(true);

    const stream = await readEvents(`${world.url}/api/v1/tasks/${id}/events`, {
      authorization: `Bearer ${client.token}`,
    });
    await stream.ended;
    const told = second.filter(({ type }) => type !== 'webhook');
    expect(stream.events.map((event) => event.id)).toEqual(told.map((event) => event.id));
    expect(stream.events.slice(0, -1).map(({ data }) => data)).toEqual(told.slice(0, -1));
  });

  it('comes in pages, and is refused with a cursor that is none', async () => {
    const { id } = await client.runTask('echo', { message: 'x' });
    const all = await timeline(id);
    const paged: Event[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const path: string = `/api/v1/tasks/${id}/timeline?limit=2${cursor && `&cursor=${cursor}`}`;
      const answer: Answer<Page> = await client.request<Page>('GET', path);
      expect(answer.body.data.length).toBeLessThanOrEqual(2);
      paged.push(...answer.body.data);
      cursor = answer.body.next_cursor;
    }
    expect(paged).toEqual(all);
    expect((await client.request('GET', `/api/v1/tasks/${id}/timeline?cursor=x`)).status).toBe(422);
    await sql`insert into task_events (task_id, attempt, type, data)
      select ${id}, 1, 'log', '{"level":"info","message":"a line"}' from generate_series(1, 60)`.execute(world.db);
    expect(await timeline(id)).toHaveLength(50);
    expect(await timeline(id, '?limit=200')).toHaveLength(all.length + 60);
  });

  it('names who cancelled, and leaves out what did not come to pass', async () => {
    const operator = await world.client('operator');
    const { id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    expect(typesOf(await timeline(id))).toEqual(['accepted']);
    await operator.request('POST', `/api/v1/tasks/${id}/cancel`);
    const events = await timeline(id);
    expect(typesOf(events)).toEqual(['accepted', 'cancel_requested', 'ended']);
    expect(events[0]).toMatchObject({ status: 'scheduled' });
    expect(events[1]).toMatchObject({ by: operator.username, reason: `by ${operator.username}`, status: 'cancelled' });
    expect(events[2]).toMatchObject({ status: 'cancelled', reason: `by ${operator.username}` });
    expect(JSON.stringify(events)).not.toContain(operator.userId);
  });

  it('tells of attempts that failed and why, and of what a deadline ended', async () => {
    world.ollama.script = (_, response) => {
      response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"no"}');
      return true;
    };
    const { id } = await client.runTask('generate', { prompt: 'x' });
    world.ollama.script = undefined;
    const failed = (await timeline(id)).slice(-2);
    expect(failed).toMatchObject([
      { type: 'attempt_ended', outcome: 'failed', status: 'failed', error: { retryable: false } },
      { type: 'ended', status: 'failed', error: { retryable: false } },
    ]);
    const late = await client.submit('echo', { message: 'x' }, { delay_seconds: 600, expires_in_seconds: 900 });
    await sql`update tasks set expires_at = now() where id = ${late.id}`.execute(world.db);
    await world.running.reconciler.runOnce();
    expect((await timeline(late.id)).slice(1)).toMatchObject([
      { type: 'cancel_requested', by: null, reason: 'deadline', status: 'expired' },
      { type: 'ended', status: 'expired' },
    ]);
  });
});
