import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createShell, HAS_SCRIPT, type Shell } from '../support/cli.ts';
import { json, problem, startScriptedHttp } from '../support/scripted-http.ts';
import { createSpeaker } from '../support/sse.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let user: Client;
let shell: Shell;
beforeAll(async () => {
  world = await createWorld();
  user = await world.client();
  shell = createShell({ SUTAZAI_URL: world.url, SUTAZAI_TOKEN: user.token ?? '' });
});
afterAll(async () => {
  await shell.remove();
  await world.close();
});
afterEach(() => {
  world.ollama.script = undefined;
});

const idIn = (text: string) => /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(text)?.[0] ?? '';
const statusOf = async (id: string) => (await user.request('GET', `/api/v1/tasks/${id}`)).body.status;
const hang = () => new Promise<boolean>(() => {});

describe('sutazai run', () => {
  it('prints the result on stdout, and everything else on stderr', async () => {
    const { code, stdout, stderr } = await shell.run(['run', 'echo', '--message', 'hi\u009b2J']);
    expect([code, JSON.parse(stdout)]).toEqual([0, { message: 'hi\u009b2J' }]);
    // What a task answers does not steer the terminal.
    expect(stdout).not.toContain('\u009b');
    expect(stderr).toBe(`echo ${idIn(stderr)}\n`);
  });

  it('takes words, stdin, a whole input, a file, and fields over it', async () => {
    const file = join(shell.home, 'input.json');
    writeFileSync(file, '{"message": "from a file"}');
    const ways: Array<[string[], string | undefined, string]> = [
      [['hello', 'there'], undefined, 'hello there'],
      [['-'], 'from\nstdin', 'from\nstdin'],
      [['--message', '--my_var is here'], undefined, '--my_var is here'],
      [['--', '--snake_case prompt'], undefined, '--snake_case prompt'],
      [['--input', '{"message": "whole"}'], undefined, 'whole'],
      [['--input', '-'], ' {"message": "whole from stdin"}', 'whole from stdin'],
      [['--input', file], undefined, 'from a file'],
      [['--input', file, '--message', 'over it'], undefined, 'over it'],
    ];
    for (const [args, stdin, message] of ways) {
      const { stdout, stderr } = await shell.run(['run', 'echo', ...args], { stdin });
      expect(stdout, stderr).toBe(`${JSON.stringify({ message }, null, 2)}\n`);
    }
  });

  it('looks for files where `npm run sutazai` was typed, and for the rest at the root of the clone', async () => {
    const clone = createShell({ SUTAZAI_TOKEN: user.token ?? '' });
    const typedIn = join(clone.home, 'typed-in');
    mkdirSync(typedIn);
    writeFileSync(join(typedIn, 'mine.json'), '{"message": "mine"}');
    writeFileSync(join(clone.home, '.env'), `SUTAZAI_URL=${world.url}`);
    const npm = { npm_package_name: 'sutazai', npm_lifecycle_event: 'sutazai', INIT_CWD: typedIn };
    const args = ['run', 'echo', '--input', 'mine.json'];
    const [found, other] = await Promise.all([
      clone.run(args, { env: npm }),
      clone.run(args, { env: { ...npm, npm_package_name: 'other' } }),
    ]);
    await clone.remove();
    expect(found.stdout, found.stderr).toContain('"mine"');
    expect(other.stderr).toContain('mine.json cannot be read (ENOENT)');
  });

  it('hands in what is said of the task, before the type and after it', async () => {
    const args = [
      'run',
      '--json',
      '--tag',
      'a',
      '--priority',
      '2',
      'echo',
      'hi',
      '--tag',
      'b',
      '--title',
      'T',
      '--attempts',
      '1',
    ];
    const { stdout } = await shell.run(args);
    expect(stdout.trim().split('\n')).toHaveLength(1);
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ type: 'echo', status: 'completed', output: { message: 'hi' } },
      ...{ tags: ['a', 'b'], priority: 2, title: 'T', max_attempts: 1 },
    });
  });

  it('does not wait with --no-wait', async () => {
    const { code, stdout, stderr } = await shell.run(['run', 'echo', 'later', '--no-wait', '--delay', '600']);
    expect(code).toBe(0);
    expect(await statusOf(stdout.trim())).toBe('scheduled');
    expect(stderr).toContain(`\`sutazai tasks watch ${stdout.trim()}\``);
  });

  it('sends the fields of a type as what they are', async () => {
    const args = [
      'run',
      'chat',
      'Tell me',
      '--options.num_predict=7',
      '--options.stop',
      '["a","b"]',
      '--keep-alive',
      '5m',
    ];
    const { stdout } = await shell.run([...args, '--format', '{"type": "object"}', '--json']);
    expect(JSON.parse(stdout).input).toEqual({
      messages: [{ role: 'user', content: 'Tell me' }],
      options: { num_predict: 7, stop: ['a', 'b'] },
      keep_alive: '5m',
      format: { type: 'object' },
    });
    const embed = await shell.run(['run', 'embed', '--field-input', '["a", "b"]', '--json']);
    expect(JSON.parse(embed.stdout).input).toEqual({ input: ['a', 'b'] });
  });

  it('writes the text of a model while it is made', async () => {
    const speaker = createSpeaker();
    world.ollama.script = speaker.script;
    const running = shell.start(['run', 'chat', 'Tell me']);
    const speech = await speaker.call(0);
    speech.say('Once upon');
    await running.says('Once upon');
    expect(running.stdout()).toBe('Once upon');
    speech.say(' a time.\u001b[2J');
    speech.finish();
    const { code, stdout } = await running.ended;
    // What a model says does not steer the terminal.
    expect([code, stdout]).toEqual([0, 'Once upon a time.[2J\n']);
  });

  it('ends with 1 and says why when the task fails', async () => {
    world.ollama.script = (_, answer) => {
      answer.writeHead(400).end('{"error": "no such thing"}');
      return true;
    };
    const { code, stdout, stderr } = await shell.run(['run', 'generate', 'x']);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/The task is failed \(\w+: .*\)\. `sutazai tasks retry [\w-]{36}` runs it again\./);
    const asJson = await shell.run(['run', 'generate', 'x', '--json']);
    expect([asJson.code, JSON.parse(asJson.stdout).status]).toEqual([1, 'failed']);
  });

  it('has the server cancel the task on Ctrl-C', async () => {
    world.ollama.script = hang;
    const called = world.ollama.nextCall('/api/chat');
    const running = shell.start(['run', 'chat', 'Tell me']);
    const { closedEarly } = await called;
    // The model may be asked before the command knows the id of its task.
    await running.says('chat ');
    running.child.kill('SIGINT');
    const { code, stderr } = await running.ended;
    expect(code).toBe(130);
    expect(stderr).toContain('The task is cancelled');
    expect(await statusOf(idIn(stderr))).toBe('cancelled');
    expect(await closedEarly).toBe(true);
  });

  it('says that the task goes on, and how to follow it, where it cannot follow it any longer', async () => {
    const server = await startScriptedHttp();
    try {
      const types = { data: [{ name: 'echo', summary: 's', input_schema: {}, examples: [] }], next_cursor: null };
      const task = { id: 't1', type: 'echo', status: 'pending' };
      server.script(json(200, types), json(202, task), problem(403, 'forbidden'));
      const { code, stderr } = await shell.run(['run', 'echo'], { env: { SUTAZAI_URL: server.url } });
      expect([code, stderr]).toEqual([1, expect.stringContaining('The task goes on without you')]);
      expect(stderr).toContain('`sutazai tasks watch t1`');
    } finally {
      await server.close();
    }
  });

  it('maps what the server refuses to the flags that were given', async () => {
    const wrong = await shell.run(['run', 'chat', '--messages', '[{"role": "boss"}]', '--priority', '11']);
    expect([wrong.code, wrong.stdout]).toEqual([1, '']);
    expect(wrong.stderr).toContain('--priority must be from 1 (first) to 10 (last)');
    const input = await shell.run(['run', 'chat', '--messages', '[{"role": "boss"}]']);
    expect(input.stderr).toContain('--messages.0.role must be one of');
    expect((await shell.run(['run', 'echo'])).stderr).toContain('--message is missing');
  });

  it('says what is wrong with a command before it asks the server', async () => {
    const errors: Array<[string[], string]> = [
      [['run'], 'A task type is needed: `sutazai types` lists them'],
      [['run', 'ehco', 'x'], 'There is no task type ehco; there are echo, chat'],
      [['run', 'echo', '--massage', 'x'], '(Did you mean --message?)'],
      [['run', 'chat', '--options', '{'], 'It wants JSON'],
      [['run', 'generate', 'x', '--options.seed', 'one'], 'It wants a number'],
      [['run', 'http.request', '--method', 'YELL'], 'Allowed choices are GET, HEAD'],
      [['run', 'echo', '--input', 'nowhere.json'], 'nowhere.json cannot be read (ENOENT)'],
      [['run', 'echo', '--input', '{oops'], '--input is not JSON: line 1, column 2, where'],
    ];
    for (const [args, message] of errors) {
      const { code, stdout, stderr } = await shell.run(args);
      expect([code, stdout]).toEqual([1, '']);
      expect(stderr).toContain(message);
      expect(stderr).not.toMatch(/^\s+at /m);
    }
  });

  it('shows the flags of a type, and an example that works', async () => {
    const { code, stdout } = await shell.run(['run', 'echo', '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain('--message <text>');
    const example = /\n {2}(sutazai run echo .*)/.exec(stdout)?.[1] ?? '';
    expect((await shell.run(example.split(' ').slice(1))).code).toBe(0);
  });

  it.skipIf(!HAS_SCRIPT)('shows how far a task is in a terminal, and takes Ctrl-C there', async () => {
    world.ollama.script = hang;
    const running = shell.inTerminal(['run', 'chat', 'Tell me']);
    await running.says('chat ');
    running.child.stdin?.write('\x03');
    await running.says('Cancelling');
    const { code, stdout } = await running.ended;
    expect(code).toBe(130);
    expect(stdout).toContain('\r\x1b[K');
    expect(stdout).toContain('The task is cancelled');
  });
});
