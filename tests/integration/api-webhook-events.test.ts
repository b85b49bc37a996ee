import { sql } from 'kysely';
import { afterEach, describe, expect, it } from 'vitest';
import { startSink } from '../support/sink.ts';
import { until } from '../support/until.ts';
import { useWebhooks } from '../support/webhooks.ts';

const EVENTS = ['task.started', 'task.progress', 'task.completed'];
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('webhooks hear', () => {
  const { here, make, verified, heard, deliveries } = useWebhooks();
  afterEach(() => {
    here.world.ollama.script = undefined;
  });

  /** Lets the model write words with these pauses after each, in milliseconds. */
  function speak(pauses: number[]): void {
    here.world.ollama.script = ({ path }, response) => {
      if (path !== '/api/generate') return false;
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      const say = (line: object) => response.write(`${JSON.stringify(line)}\n`);
      void (async () => {
        for (const ms of pauses) {
          say({ response: ' word', done: false });
          await pause(ms);
        }
        say({ response: '', done: true, done_reason: 'stop', eval_count: pauses.length });
        response.end();
      })();
      return true;
    };
  }
  const messages = () =>
    here.sink.received
      .map((_, n) => verified(n))
      .sort((a, b) => Date.parse(a.timestamp) - Date.parse(b.timestamp) || (a.type === 'task.started' ? -1 : 0));

  it('of the start of a task, of its progress at most twice a second, and of its end', async () => {
    await make({ events: EVENTS });
    // Two words within half a second, then a silence: the last one before it is told too.
    speak([300, 60, 1_300, 300, 300, 300, 300]);
    const { id, started_at } = await here.client.runTask('generate', { prompt: 'x' });
    await until('the end', () => here.sink.received.some(({ body }) => body.includes('task.completed')));
    await until('all are sent', async () =>
      (await deliveries(`tasks/${id}`)).every((one) => one.status === 'delivered'),
    );
    const all = messages();
    const [start, ...rest] = all;
    expect(start).toMatchObject({
      type: 'task.started',
      timestamp: started_at,
      data: { id, status: 'running', attempt: 1, started_at, output: null, progress: null, completed_at: null },
    });
    const progress = rest.filter(({ type }) => type === 'task.progress');
    expect(rest.map(({ type }) => type)).toEqual([...progress.map(() => 'task.progress'), 'task.completed']);
    const words = progress.map(({ data }) => (data.progress as { message: string }).message);
    expect(words).toContain('3 tokens');
    expect(words.length).toBeGreaterThanOrEqual(3);
    for (const { data } of progress) expect(data).toMatchObject({ status: 'running', output: null, started_at });
    const times = progress.map(({ timestamp }) => Date.parse(timestamp));
    for (let n = 1; n < times.length; n++) expect(times[n]! - times[n - 1]!).toBeGreaterThanOrEqual(500);
  });

  it('of each attempt that starts, and of the same through the webhook of a task', async () => {
    let calls = 0;
    here.world.ollama.script = (_, response) => {
      if (calls++ > 0) return false;
      response.socket?.destroy();
      return true;
    };
    const webhook = { url: here.sink.url, events: ['task.started'], secret: undefined };
    const task = await here.client.submit('embed', { input: 'x' }, { webhook });
    await here.client.waitForEnd(task.id);
    await heard(2);
    const starts = here.sink.received.map((_, n) => verified(n, task.webhook_secret).data);
    expect(starts.map(({ attempt }) => attempt).sort()).toEqual([1, 2]);
    expect(starts.map(({ status }) => status)).toEqual(['running', 'running']);
  });

  it('nothing of the start where nobody subscribes to it, and no progress while disabled', async () => {
    await make({ events: ['task.completed'] });
    const silent = await make({ events: EVENTS, enabled: false });
    speak([400, 400]);
    const { id } = await here.client.runTask('generate', { prompt: 'x' });
    await heard(1);
    expect((await deliveries(`tasks/${id}`)).map(({ event }) => event).sort()).toEqual([
      'task.completed',
      'task.completed',
      'task.started',
    ]);
    expect((await deliveries(`webhooks/${silent.id}`)).map(({ status }) => status)).toEqual(['failed', 'failed']);
  });

  it('of tasks that expire, are cancelled while they run, or kill their workers', async () => {
    await make({ events: ['task.expired', 'task.cancelled', 'task.failed'] });
    const expired = await here.client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    await sql`update tasks set expires_at = now() where id = ${expired.id}`.execute(here.world.db);
    here.world.ollama.script = () => true;
    const called = here.world.ollama.nextCall('/api/generate');
    const stopped = await here.client.submit('generate', { prompt: 'x' });
    await called;
    await here.client.request('POST', `/api/v1/tasks/${stopped.id}/cancel`);
    const killer = await here.client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    await sql`update tasks set status = 'running', attempt = 3, losses = 2, worker = 'gone', started_at = now(),
      lease_until = now() - interval '1 s' where id = ${killer.id}`.execute(here.world.db);
    await here.world.running.reconciler.runOnce();
    await heard(3);
    expect(messages().map(({ type, data }) => [type, data.id])).toEqual(
      expect.arrayContaining([
        ['task.expired', expired.id],
        ['task.cancelled', stopped.id],
        ['task.failed', killer.id],
      ]),
    );
  });

  it('of the tasks of an account that is deleted as long as it is there', async () => {
    const other = await startSink();
    await make({ url: other.url, events: ['task.cancelled'] });
    const { id } = await here.client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    const admin = await here.world.client('admin');
    expect((await admin.request('DELETE', `/api/v1/users/${here.client.userId}`)).status).toBe(204);
    const left = await sql`select id from webhook_endpoints where user_id = ${here.client.userId}
      union all select id from deliveries where task_id = ${id}`.execute(here.world.db);
    expect(left.rows).toEqual([]);
    await other.close();
  });
});
