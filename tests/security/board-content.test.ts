import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LANES } from '../../src/tasks/lanes.ts';
import { expectProblem } from '../support/problem.ts';
import { rawRequest } from '../support/raw-http.ts';
import { until } from '../support/until.ts';
import { ADMIN_PASSWORD, type Answer, BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

const BOARD = '/admin/queues';
const MARKUP = '<script>alert("job")</script>';
const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';

describe.each(BACKENDS)('what the queue dashboard shows on %s', (backend) => {
  let world: World;
  let admin: string;
  let operator: Client;
  let operatorCookie: string;
  beforeAll(async () => {
    world = await createWorld({ backend });
    operator = await world.client('operator');
    [admin, operatorCookie] = [await login('admin'), await login(operator.username)];
  });
  afterAll(() => world.close());

  const ask = (method: string, path: string, headers: Record<string, string> = {}, chunks: string[] = []) =>
    rawRequest(world.url, { method, path, headers, chunks });
  async function login(name: string): Promise<string> {
    const form = new URLSearchParams({ login: name, password: ADMIN_PASSWORD }).toString();
    const headers = { origin: world.url, 'content-type': 'application/x-www-form-urlencoded' };
    return ((await ask('POST', '/admin/login', headers, [form])).headers.get('set-cookie') ?? '').split(';')[0] ?? '';
  }
  const told = (action: string) =>
    world.db.selectFrom('audit_log').selectAll().where('action', '=', action).orderBy('id').execute();

  it('is a page that asks nobody else for anything', async () => {
    const { body, headers } = await ask('GET', BOARD, { cookie: admin, accept: 'text/html' });
    expect(body).toContain('<script id="__UI_CONFIG__"');
    const targets = [...body.matchAll(/<(?:link|script|img)\b[^>]*?(?:href|src)="([^"]*)"/g)].map(
      ([, target]) => target,
    );
    expect(targets.length).toBeGreaterThan(2);
    expect(targets.filter((target) => /^(?:[a-z]+:)?\/\//.test(target as string))).toEqual([]);
    expect(headers.get('content-security-policy')).toContain("default-src 'self'");
  });

  it('S31: of jobs is ids and counts: nothing that a user wrote, and no secret', async () => {
    const client = await world.client();
    world.ollama.script = (_, response) => {
      response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify({ error: MARKUP }));
      return true;
    };
    const written = { title: MARKUP, tags: [MARKUP], metadata: { [MARKUP]: MARKUP } };
    const webhook = { url: `http://127.0.0.1:1/${encodeURIComponent(MARKUP)}`, secret: SECRET };
    await client.submit('echo', { message: MARKUP }, { ...written, delay_seconds: 600 });
    await client.runTask('echo', { message: MARKUP }, { ...written, webhook });
    const workflow = await client.runTask('workflow', {
      steps: [{ id: 'say', type: 'echo', title: MARKUP, input: { message: MARKUP } }],
    });
    const failed = await client.runTask('chat', { messages: [{ role: 'user', content: MARKUP }] }, { max_attempts: 1 });
    expect([failed.status, failed.error?.message]).toEqual(['failed', expect.stringContaining('alert')]);
    world.ollama.script = undefined;

    let jobs = 0;
    const names = new Set<string>();
    for (const lane of LANES)
      for (const status of ['latest', 'active', 'waiting', 'prioritized', 'completed', 'failed', 'delayed']) {
        const path = `${BOARD}/api/queues?activeQueue=${lane}&status=${status}&jobsPerPage=50`;
        const { headers, body } = await ask('GET', path, { cookie: admin });
        expect(headers.get('content-type')).toMatch(/^application\/json/);
        expect(headers.get('x-content-type-options')).toBe('nosniff');
        expect(body).not.toMatch(/alert|<script|whsec_|MfKQ9r8G/);
        const { queues } = JSON.parse(body) as {
          queues: Array<{ jobs: Array<{ name: string; data: object; returnValue: unknown }> }>;
        };
        for (const { name, data, returnValue } of queues.flatMap((queue) => queue.jobs)) {
          jobs++;
          names.add(name);
          expect(['kind', 'id', 'generation', 'request_id', 'parent_id']).toEqual(
            expect.arrayContaining(Object.keys(data)),
          );
          expect(returnValue ?? null).toBeNull();
        }
      }
    expect(jobs).toBeGreaterThan(3);
    // Whose step it is, is what a search for its workflow finds.
    expect([...names]).toEqual(expect.arrayContaining(['workflow', `echo (step of ${workflow.id})`]));
  });

  it('S31: of a job that somebody made by hand with markup in it is data, in JSON that no browser takes for a page', async () => {
    const headers = { cookie: admin, origin: world.url, 'content-type': 'application/json' };
    const job = JSON.stringify({
      name: MARKUP,
      data: { kind: 'task', id: MARKUP, generation: 0 },
      options: { delay: 6e5 },
    });
    expect((await ask('POST', `${BOARD}/api/queues/agent/add`, headers, [job])).status).toBe(200);
    const list = await ask('GET', `${BOARD}/api/queues?activeQueue=agent&status=delayed`, { cookie: admin });
    expect(list.headers.get('content-type')).toMatch(/^application\/json/);
    expect(list.body).toContain('alert');
  });

  it.each([
    `/queue/${encodeURIComponent(MARKUP)}`,
    `/queue/system/${encodeURIComponent(MARKUP)}`,
    `/queue/system?status=${encodeURIComponent(MARKUP)}`,
  ])('S31: of the path is nothing, in a page that lets only our own files run: %s', async (path) => {
    const { status, headers, body } = await ask('GET', BOARD + path, { cookie: admin, accept: 'text/html' });
    expect([status, headers.get('content-type')]).toEqual([200, 'text/html; charset=UTF-8']);
    expect(body).not.toContain('alert(');
    const policy = headers.get('content-security-policy') ?? '';
    expect(policy.split('; ')).toEqual(expect.arrayContaining(["script-src 'self'", "frame-ancestors 'none'"]));
    for (const [tag] of body.matchAll(/<script[^>]*>/g)) expect(tag).toMatch(/ src="static\/|type="application\/json"/);
    expect(body).not.toMatch(/ on\w+="|javascript:/);
  });

  it.each([
    `/api/queues/${encodeURIComponent(MARKUP)}/pause`,
    `/api/queues/system/${encodeURIComponent(MARKUP)}/clean`,
  ])('S31: of a wrong address is no page: PUT %s', async (path) => {
    const { status, headers, body } = await ask('PUT', BOARD + path, { cookie: admin, origin: world.url });
    expect(status).toBe(404);
    expect(headers.get('content-type')).not.toContain('html');
    expect(body).not.toContain('<script');
  });

  it('S26: of an error is that there was one, without the words of the queue store', async () => {
    const wrong = JSON.stringify({ concurrency: { much: true } });
    const headers = { cookie: admin, origin: world.url, 'content-type': 'application/json' };
    const answers = [await ask('PUT', `${BOARD}/api/queues/system/concurrency`, headers, [wrong])];
    if (backend === 'postgres') {
      await sql`alter schema bullmq rename to away`.execute(world.db);
      answers.push(await ask('GET', `${BOARD}/api/queues`, { cookie: admin }));
      await sql`alter schema away rename to bullmq`.execute(world.db);
      expect(answers[1]?.status).toBe(500);
    }
    for (const answer of answers) {
      if (answer.status >= 500) expectProblem({ ...answer, body: JSON.parse(answer.body) }, 'internal_error');
      expect(answer.body).not.toMatch(/ERR |bullmq|relation|syntax|node_modules|\.js:\d|\.ts:\d/);
    }
  });

  it('S30: of a pause is what the API says too, and it lasts', async () => {
    const put = (verb: string, cookie = admin): Promise<Answer<string>> =>
      ask('PUT', `${BOARD}/api/queues/${verb}`, { cookie, origin: world.url });
    const paused = async () => {
      const { body } = await operator.request<{ data: Array<{ name: string; paused: boolean; paused_by: string }> }>(
        'GET',
        '/api/v1/monitoring/queues',
      );
      return body.data.filter((queue) => queue.paused).map(({ name, paused_by }) => `${name} by ${paused_by}`);
    };
    expect((await put('embed/pause')).status).toBe(200);
    await world.running.reconciler.runOnce();
    expect(await paused()).toEqual(['embed by the dashboard']);
    expect((await put('pause')).status).toBe(200);
    expect(await paused()).toHaveLength(LANES.length);
    expect((await put('resume')).status).toBe(200);
    expect(await paused()).toEqual([]);
    expect((await put('embed/pause', operatorCookie)).status).toBe(403);
    expect(await paused()).toEqual([]);
  });

  it('S30: of who changed what is in the audit log, also where it was refused', async () => {
    await ask('PUT', `${BOARD}/api/queues/embed/promote`, { cookie: admin, origin: world.url });
    await ask('PUT', `${BOARD}/api/queues/embed/empty`, { cookie: operatorCookie, origin: world.url });
    const entries = await until('both are told of', async () => {
      const all = await told('dashboard.change');
      return all.some(({ object_id }) => object_id === 'PUT /api/queues/embed/empty') && all;
    });
    const seen = entries.map(({ actor_name, object_id, outcome }) => `${actor_name} ${object_id} ${outcome}`);
    expect(seen).toContain('admin PUT /api/queues/embed/promote ok');
    expect(seen).toContain(`${operator.username} PUT /api/queues/embed/empty refused`);
  });
});
