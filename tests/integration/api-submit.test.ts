import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

type Submitted = PresentedTask & { webhook_secret?: string };
const echo = { type: 'echo', input: { message: 'hi' } };
const HOUR_MS = 3_600_000;

describe('submitting a task', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    // Nobody works here, so that tasks stay as they were accepted.
    world = await createWorld({ mode: 'api' });
    client = await world.client();
  });
  afterAll(() => world.close());

  const post = (body: unknown, headers?: Record<string, string>) =>
    client.request<Submitted>('POST', '/api/v1/tasks', body, headers);
  const countTasks = async () =>
    Number(
      (
        await world.db
          .selectFrom('tasks')
          .select((eb) => eb.fn.countAll().as('count'))
          .executeTakeFirstOrThrow()
      ).count,
    );

  it('answers every documented field of the task, and the same as a later read, which also knows its place', async () => {
    const { status, headers, body } = await post(echo);
    expect(status).toBe(202);
    const self = `${world.url}/api/v1/tasks/${body.id}`;
    expect(headers.get('location')).toBe(self);
    expect(headers.get('retry-after')).toBe('1');
    expect(body).toEqual({
      ...{ id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7/), type: 'echo', title: null, status: 'pending' },
      ...{ priority: 5, input: { message: 'hi' }, output: null, error: null, progress: null, attempt: 0 },
      ...{
        max_attempts: 3,
        failures: 0,
        queue_position: null,
        metadata: {},
        tags: [],
        model: null,
        usage: null,
        agent_id: null,
      },
      ...{
        concurrency_key: null,
        origin_id: null,
        payload_deleted_at: null,
        parent_id: null,
        batch_id: null,
        schedule_id: null,
        user_id: client.userId,
        scheduled_for: null,
      },
      ...{ started_at: null, completed_at: null, expires_at: null, cancel_reason: null },
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      urls: { self, cancel: `${self}/cancel`, retry: `${self}/retry`, events: `${self}/events` },
    });
    const later = await client.request('GET', `/api/v1/tasks/${body.id}`);
    expect(later.body).toEqual({ ...body, queue_position: expect.any(Number) });
  });

  it('stores what the client says of the task', async () => {
    const said = {
      title: 'Tîtle ☃',
      priority: 1,
      metadata: { a: { b: [1, null, '☃'] } },
      tags: ['x', 'y z'],
      max_attempts: 100,
    };
    const { body } = await post({ ...echo, ...said, timeout_seconds: 1.5 });
    expect((await client.request('GET', `/api/v1/tasks/${body.id}`)).body).toMatchObject(said);
    const row = await world.db.selectFrom('tasks').selectAll().where('id', '=', body.id).executeTakeFirstOrThrow();
    expect(row).toMatchObject({ timeout_ms: 1500, lane: 'system' });
  });

  it.each([
    ['delay_seconds', { delay_seconds: 3600 }],
    ['scheduled_for', { scheduled_for: new Date(Date.now() + HOUR_MS).toISOString() }],
    [
      'scheduled_for in another zone',
      { scheduled_for: `${new Date(Date.now() + 3 * HOUR_MS).toISOString().slice(0, 19)}+02:00` },
    ],
  ])('keeps a task with %s as scheduled until its time', async (_, when) => {
    const { status, body } = await post({ ...echo, ...when });
    expect([status, body.status]).toEqual([202, 'scheduled']);
    expect(Math.abs(Date.parse(String(body.scheduled_for)) - Date.now() - HOUR_MS)).toBeLessThan(10_000);
  });

  it('takes a task whose time has passed as pending', async () => {
    const { body } = await post({ ...echo, scheduled_for: '2001-01-01T00:00:00Z' });
    expect(body.status).toBe('pending');
  });

  it.each([
    ['expires_in_seconds', { expires_in_seconds: 90 }, {}, 90],
    ['Cancel-After in seconds', {}, { 'cancel-after': '90s' }, 90],
    ['Cancel-After without a unit', {}, { 'cancel-after': '90' }, 90],
    ['Cancel-After in minutes', {}, { 'cancel-after': '2m' }, 120],
    ['Cancel-After in hours', {}, { 'cancel-after': '1h' }, 3600],
    ['the body before the header', { expires_in_seconds: 30 }, { 'cancel-after': '1h' }, 30],
  ])('takes the deadline from %s', async (_, body, headers, seconds) => {
    const { body: task } = await post({ ...echo, ...body }, headers);
    expect(Date.parse(String(task.expires_at)) - Date.parse(String(task.created_at))).toBe(seconds * 1000);
  });

  it.each(['soon', '0s', '-5s', '90d', '9000000h', '1e3'])('refuses Cancel-After: %s', async (value) => {
    expect(expectProblem(await post(echo, { 'cancel-after': value }), 'bad_request').detail).toContain('Cancel-After');
  });

  it('shows the signing secret that it made once, and never one that was given', async () => {
    const webhook = { url: 'https://example.com/hook' };
    const { body } = await post({ ...echo, webhook });
    expect(body.webhook_secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    const again = await client.request('GET', `/api/v1/tasks/${body.id}`);
    expect(JSON.stringify(again.body)).not.toContain('whsec_');
    const secret = `whsec_${Buffer.alloc(24, 1).toString('base64')}`;
    const given = await post({ ...echo, webhook: { ...webhook, secret, events: ['task.failed'] } });
    expect(given.status).toBe(202);
    expect(JSON.stringify(given.body)).not.toContain('whsec_');
    const rows = await world.db.selectFrom('tasks').select('webhook').where('webhook', 'is not', null).execute();
    expect(JSON.stringify(rows)).not.toContain(secret.slice(6));
  });

  it('lists the types that there are when it does not know one', async () => {
    const problem = expectProblem(await post({ type: 'nonsense', input: {} }), 'validation_failed');
    expect(problem.errors).toEqual([
      { pointer: '#/type', detail: expect.stringContaining('echo, chat, generate, embed') },
    ]);
  });

  const refused: Array<[string, Record<string, unknown>, string]> = [
    ...['role', 'user_id', 'status', 'id', 'attempt', 'lane', 'output', 'created_at', 'callbackUrl'].map(
      (name): [string, Record<string, unknown>, string] => [`the field ${name}`, { [name]: 'admin' }, `#/${name}`],
    ),
    ['a field of the input that is not known', { input: { message: 'a', role: 'admin' } }, '#/input/role'],
    ['a missing input', { input: undefined }, '#/input'],
    ['an input of the wrong type', { input: { message: 5 } }, '#/input/message'],
    ['a name with ~ and /', { 'a~b/c': 1 }, '#/a~0b~1c'],
    ['priority 0', { priority: 0 }, '#/priority'],
    ['priority 11', { priority: 11 }, '#/priority'],
    ['priority 1.5', { priority: 1.5 }, '#/priority'],
    ['priority as text', { priority: '1' }, '#/priority'],
    ['a long title', { title: 'x'.repeat(256) }, '#/title'],
    ['an empty tag', { tags: ['a', ''] }, '#/tags/1'],
    ['51 tags', { tags: Array(51).fill('a') }, '#/tags'],
    ['metadata that is a list', { metadata: [] }, '#/metadata'],
    ['a negative delay', { delay_seconds: -1 }, '#/delay_seconds'],
    ['a delay of more than a year', { delay_seconds: 31_536_001 }, '#/delay_seconds'],
    [
      'delay_seconds beside scheduled_for',
      { delay_seconds: 1, scheduled_for: '2030-01-01T00:00:00Z' },
      '#/delay_seconds',
    ],
    ['a time that is none', { scheduled_for: 'tomorrow' }, '#/scheduled_for'],
    ['the 31st of February', { scheduled_for: '2030-02-31T00:00:00Z' }, '#/scheduled_for'],
    ['the year 0', { scheduled_for: '0000-01-01T00:00:00Z' }, '#/scheduled_for'],
    ['half a zone', { scheduled_for: '2030-01-01T00:00:00+00' }, '#/scheduled_for'],
    ['a deadline of 0 s', { expires_in_seconds: 0 }, '#/expires_in_seconds'],
    ['a time limit below a second', { timeout_seconds: 0.5 }, '#/timeout_seconds'],
    ['a time limit above a day', { timeout_seconds: 86_401 }, '#/timeout_seconds'],
    ['no attempt', { max_attempts: 0 }, '#/max_attempts'],
    ['101 attempts', { max_attempts: 101 }, '#/max_attempts'],
    ['a webhook without a URL', { webhook: {} }, '#/webhook/url'],
    ['a webhook URL that is none', { webhook: { url: 'nope' } }, '#/webhook/url'],
    ['a webhook to a file', { webhook: { url: 'file:///etc/passwd' } }, '#/webhook/url'],
    ['a webhook with a login', { webhook: { url: 'https://a:b@example.com/' } }, '#/webhook/url'],
    ['a webhook to the cloud metadata', { webhook: { url: 'http://169.254.169.254/' } }, '#/webhook/url'],
    ['an unknown event', { webhook: { url: 'https://example.com', events: ['task.exploded'] } }, '#/webhook/events/0'],
    ['no event', { webhook: { url: 'https://example.com', events: [] } }, '#/webhook/events'],
    [
      'a secret without its prefix',
      { webhook: { url: 'https://example.com', secret: 'A'.repeat(40) } },
      '#/webhook/secret',
    ],
    [
      'a secret of 23 bytes',
      { webhook: { url: 'https://example.com', secret: `whsec_${'A'.repeat(31)}` } },
      '#/webhook/secret',
    ],
    [
      'a secret of 65 bytes',
      { webhook: { url: 'https://example.com', secret: `whsec_${'A'.repeat(87)}` } },
      '#/webhook/secret',
    ],
    ['an unknown field of the webhook', { webhook: { url: 'https://example.com', headers: {} } }, '#/webhook/headers'],
  ];
  it.each(refused)('refuses %s, says where, and stores nothing', async (_, wrong, pointer) => {
    const before = await countTasks();
    const problem = expectProblem(await post({ ...echo, ...wrong }), 'validation_failed');
    expect(pointersOf(problem)).toEqual([pointer]);
    expect(await countTasks()).toBe(before);
  });

  it('names EGRESS_ALLOW where it refuses a private address', async () => {
    const problem = expectProblem(await post({ ...echo, webhook: { url: 'http://10.0.0.1/' } }), 'validation_failed');
    expect(problem.errors?.[0]?.detail).toContain('EGRESS_ALLOW');
  });

  it('reports all wrong fields at once', async () => {
    const problem = expectProblem(await post({ ...echo, priority: 0, title: 5, role: 'x' }), 'validation_failed');
    expect(pointersOf(problem).sort()).toEqual(['#/priority', '#/role', '#/title']);
  });

  it('refuses a viewer', async () => {
    const viewer = await world.client('viewer');
    const before = await countTasks();
    const problem = expectProblem(await viewer.request('POST', '/api/v1/tasks', echo), 'forbidden');
    expect(problem.detail).toContain('tasks:create');
    expectProblem(await viewer.request('POST', '/api/v1/tasks/batch', { tasks: [echo] }), 'forbidden');
    expect(await countTasks()).toBe(before);
  });
});
