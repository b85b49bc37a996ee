import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createShell, jsonLines, type Shell } from '../support/cli.ts';
import { json, startScriptedHttp } from '../support/scripted-http.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let user: Client;
let shell: Shell;
let sink: Sink;
beforeAll(async () => {
  [world, sink] = await Promise.all([createWorld(), startSink()]);
  user = await world.client();
  shell = createShell({ SUTAZAI_URL: world.url, SUTAZAI_TOKEN: user.token ?? '' });
});
afterAll(async () => {
  await shell.remove();
  await sink.close();
  await world.close();
});

describe('sutazai tasks', () => {
  it('tells what happened to a task, and deletes what is in it', async () => {
    const { id } = await user.runTask('echo', { message: 'secret' });
    const { stdout } = await shell.run(['tasks', 'timeline', id]);
    expect(stdout).toMatch(/^\S+Z +started +running +1/m);
    const events = jsonLines((await shell.run(['tasks', 'timeline', id, '--json'])).stdout);
    expect(events.map(({ type }) => type)).toEqual(['accepted', 'queued', 'started', 'attempt_ended', 'ended']);
    expect((await shell.run(['tasks', 'delete', id])).stdout).toBe(`${id} is deleted\n`);
    expect((await shell.run(['tasks', 'show', id])).stdout).not.toContain('secret');
    const again = await shell.run(['tasks', 'retry', id]);
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('was deleted')]);
  });

  it('names wrong values by the flags and arguments with which they were given', async () => {
    const wrong = [
      ['tasks', 'bulk', 'nuke', '--all'],
      ['tasks', 'bulk', 'cancel', '--before', 'yesterday'],
      ['schedules', 'create', 'echo', '--input', '{}', '--every', '0'],
      ['webhooks', 'create', 'http://10.0.0.1/x', '--events', 'task.failed'],
      ['run', 'echo', 'hi', '--delay', '-1'],
      ['schedules', 'create', 'echo', '--input', '{}', '--every', '5'],
    ];
    const said = await Promise.all(wrong.map((words) => shell.run(words)));
    expect(said.map(({ stderr }) => stderr.split('\n')[1]?.trim().split(' must')[0])).toEqual([
      'the action',
      '--before',
      '--every',
      expect.stringMatching(/^the URL leads/),
      '--delay',
      '--input.message is missing',
    ]);
  });

  it('explains why a task waits', async () => {
    const { id } = await user.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    expect((await shell.run(['tasks', 'explain', id])).stdout).toMatch(/^scheduled .*\(scheduled\): /);
    expect(JSON.parse((await shell.run(['tasks', 'explain', id, '--json'])).stdout).reason).toBe('scheduled');
  });

  it('steers many at once, only those that are chosen', async () => {
    const many = [...Array(3).keys()].map(() => ({
      type: 'echo',
      input: { message: 'x' },
      tags: ['many'],
      delay_seconds: 600,
    }));
    await user.request('POST', '/api/v1/tasks/batch', { tasks: many });
    const { id } = await user.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    const choice = ['tasks', 'bulk', 'cancel', '--tag', 'many', '--status', 'scheduled', 'pending'];
    expect((await shell.run([...choice, '--dry-run'])).stdout).toBe('3 tasks\n');
    const { code, stdout } = await shell.run(choice);
    expect([code, stdout]).toEqual([0, '3 tasks: 3 changed, 0 left as they were, 0 failed\n']);
    expect((await user.request('GET', `/api/v1/tasks/${id}`)).body.status).toBe('scheduled');
    world.ollama.script = (_, answer) => {
      answer.writeHead(400).end('{"error": "no such thing"}');
      return true;
    };
    const failed = await user.runTask('generate', { prompt: 'x' });
    world.ollama.script = undefined;
    const errorCode = (failed.error as { code: string }).code;
    const dead = ['--status', 'failed', '--error-code', errorCode];
    expect((await shell.run(['tasks', 'list', ...dead])).stdout).toContain(failed.id);
    expect((await shell.run(['tasks', 'list', '--error-code', 'poison'])).stdout).toBe('');
    expect((await shell.run(['tasks', 'bulk', 'retry', ...dead, '--dry-run'])).stdout).toBe('1 tasks\n');
    const others = ['--schedule', id, '--model', 'none', '--search', 'x'];
    expect((await shell.run(['tasks', 'bulk', 'retry', ...dead, ...others, '--dry-run'])).stdout).toBe('0 tasks\n');
    const everything = await shell.run(['tasks', 'bulk', 'cancel']);
    expect([everything.code, everything.stderr]).toEqual([1, expect.stringContaining('or say --all')]);
  });
});

describe('sutazai webhooks', () => {
  it('makes one, tests it, lists it and removes it', async () => {
    const made = await shell.run(['webhooks', 'create', sink.url, '--name', 'mine', '--events', 'task.failed']);
    const [id = '', secret] = made.stdout.trim().split('\n');
    expect(secret).toMatch(/^whsec_/);
    const tested = await shell.run(['webhooks', 'test', id]);
    expect([tested.code, tested.stdout]).toEqual([0, expect.stringMatching(/^delivered: answered 2\d\d\n$/)]);
    expect((await shell.run(['webhooks', 'list'])).stdout).toMatch(
      new RegExp(`^${id} +mine .* on +task\\.failed$`, 'm'),
    );
    expect((await shell.run(['webhooks', 'delete', id])).stdout).toBe(`${id} is removed\n`);
    expect((await shell.run(['webhooks', 'list', '--json'])).stdout).toBe('');
    const wrong = await shell.run(['webhooks', 'create', 'ftp://x']);
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('the URL must start with')]);
  });
});

describe('sutazai webhooks test', () => {
  it('does not wait without end where nobody sends the message', async () => {
    const server = await startScriptedHttp();
    try {
      server.script(json(202, { id: 'd1', status: 'pending', last_error: null }));
      const env = { SUTAZAI_URL: server.url };
      const { code, stdout, stderr } = await shell.run(['webhooks', 'test', 'w1', '--wait', '1'], { env });
      expect([code, stdout]).toEqual([1, '']);
      expect(stderr).toMatch(/still pending after 1 s: .*`sutazai workers`/);
    } finally {
      await server.close();
    }
  });
});

describe('sutazai schedules', () => {
  it('makes one, lists it, starts its task, and deletes it', async () => {
    const input = ['--input', '{"message": "tick"}'];
    const made = await shell.run([
      'schedules',
      'create',
      'echo',
      ...input,
      '--cron',
      '30 2 * * *',
      '--timezone',
      'Europe/Berlin',
      '--name',
      'nightly',
    ]);
    const id = made.stdout.trim();
    expect([made.code, made.stderr]).toEqual([0, expect.stringMatching(/^The first task starts at \S+Z\.\n$/)]);
    expect((await shell.run(['schedules', 'list'])).stdout).toMatch(
      new RegExp(`^${id} +nightly +30 2 \\* \\* \\* Europe/Berlin +echo +\\S+Z`, 'm'),
    );
    const ran = (await shell.run(['schedules', 'run', id])).stdout.trim();
    expect((await user.waitForEnd(ran)).output).toEqual({ message: 'tick' });
    expect((await shell.run(['schedules', 'delete', id])).stdout).toBe(`${id} is deleted\n`);
    const wrong = await shell.run(['schedules', 'create', 'echo', ...input, '--cron', 'never']);
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('--cron')]);
  });
});
