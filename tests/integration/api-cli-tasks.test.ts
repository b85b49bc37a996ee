import { execFile, execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createShell, HAS_SCRIPT, jsonLines, type Shell } from '../support/cli.ts';
import { ROOT } from '../support/product.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let user: Client;
let shell: Shell;
let operator: Shell;
beforeAll(async () => {
  world = await createWorld();
  user = await world.client();
  shell = createShell({ SUTAZAI_URL: world.url, SUTAZAI_TOKEN: user.token ?? '' });
  operator = createShell({ SUTAZAI_URL: world.url, SUTAZAI_TOKEN: (await world.client('operator')).token ?? '' });
});
afterAll(async () => {
  await shell.remove();
  await operator.remove();
  await world.close();
});
afterEach(() => {
  world.ollama.script = undefined;
});

describe('sutazai tasks', () => {
  it('lists tasks as a table, and all of them as JSON lines over several pages', async () => {
    const tasks = [...Array(7).keys()].map((n) => ({
      type: 'echo',
      input: { message: 'x' },
      title: `title\u001b ${n}`,
      tags: ['t'],
    }));
    const { body } = await user.request<{ batch_id: string }>('POST', '/api/v1/tasks/batch', { tasks });
    const table = (await shell.run(['tasks', 'list', '--batch', body.batch_id, '--limit', '3'])).stdout
      .trim()
      .split('\n');
    expect(table).toHaveLength(4);
    expect(table[0]).toMatch(/^ID +TYPE +STATUS +CREATED +TITLE$/);
    expect(table[1]).toMatch(/^[\w-]{36} {2}echo {2}\w+ +\d+ s ago {2}title \d$/);
    const all = jsonLines((await shell.run(['tasks', 'list', '--tag', 't', '--all', '--json'])).stdout);
    expect(all.map(({ title }) => title).sort()).toEqual(tasks.map(({ title }) => title));
    const none = await shell.run(['tasks', 'list', '--status', 'failed', 'expired', '--json']);
    expect([none.code, none.stdout]).toEqual([0, '']);
    expect((await shell.run(['tasks', 'list', '--status', 'lost'])).stderr).toContain('must be some of scheduled');
  });

  it('shows, cancels and retries tasks, and says what may come next', async () => {
    const { id } = await user.submit('echo', { message: 'hi' }, { delay_seconds: 600, title: 'shown' });
    expect((await shell.run(['tasks', 'cancel', id])).stdout).toBe(`${id} is cancelled\n`);
    const shown = (await shell.run(['tasks', 'show', id])).stdout;
    expect(shown).toMatch(/^status +cancelled$/m);
    expect(shown).toContain('"message": "hi"');
    expect(JSON.parse((await shell.run(['tasks', 'retry', id, '--json'])).stdout).id).toBe(id);
    const watched = await shell.run(['tasks', 'watch', id]);
    expect([watched.code, JSON.parse(watched.stdout)]).toEqual([0, { message: 'hi' }]);
    const again = JSON.parse(
      (await shell.run(['tasks', 'retry', id, '--input', '{"message": "other"}', '--json'])).stdout,
    );
    expect(again.origin_id).toBe(id);
    expect((await shell.run(['tasks', 'attempts', id])).stdout).toMatch(/^1 +completed/m);
    const late = await shell.run(['tasks', 'cancel', id]);
    expect([late.code, late.stderr]).toEqual([1, expect.stringContaining('`sutazai tasks retry <id>` runs it again')]);
    const none = await shell.run(['tasks', 'show', '01980000-0000-7000-8000-000000000000']);
    expect([none.code, none.stdout, none.stderr]).toEqual([1, '', expect.stringContaining('There is no such task.')]);
  });

  it('shows what counts of the attempts of a task, and what the last of them met', async () => {
    const { id } = await user.submit('echo', { message: 'hi' }, { delay_seconds: 600, max_attempts: 5 });
    const error = JSON.stringify({ code: 'document_busy', message: 'Another is at work.', retryable: true });
    await world.db.updateTable('tasks').set({ attempt: 9, failures: 2, error }).where('id', '=', id).execute();
    const { stdout } = await shell.run(['tasks', 'show', id]);
    expect(stdout).toMatch(/^attempt +9, 2 of 5 failures$/m);
    expect(stdout).toMatch(/^last error +document_busy: Another is at work\.$/m);
  });

  it('tries each of several ids, names the one that fails, and ends with 1', async () => {
    const { id } = await user.submit('echo', { message: 'hi' }, { delay_seconds: 600 });
    const cancelled = await shell.run(['tasks', 'cancel', 'nope', id]);
    expect([cancelled.code, cancelled.stdout]).toEqual([1, `${id} is cancelled\n`]);
    expect(cancelled.stderr).toMatch(/^nope: /);
    const deleted = await shell.run(['tasks', 'delete', 'nope', id]);
    expect([deleted.code, deleted.stdout]).toEqual([1, `${id} is deleted\n`]);
    expect((await shell.run(['tasks', 'show', 'nope', id])).stdout).toContain(id);
  });

  it('watches a task as events, and answers with its end', async () => {
    world.ollama.script = (_, answer) => {
      answer.writeHead(400).end('{"error": "no such thing"}');
      return true;
    };
    const { id } = await user.submit('generate', { prompt: 'x' });
    const { code, stdout } = await shell.run(['tasks', 'watch', id, '--json']);
    const events = jsonLines(stdout);
    expect(code).toBe(1);
    expect(events.at(0)).toMatchObject({ type: 'status', entry: { type: 'accepted' } });
    expect(events.at(-1)).toMatchObject({ type: 'completed', task: { id, status: 'failed' } });
  });

  it('has the server cancel the task on Ctrl-C, also while it prints events', async () => {
    world.ollama.script = () => new Promise<boolean>(() => {});
    const { id } = await user.submit('generate', { prompt: 'x' });
    const watching = shell.start(['tasks', 'watch', id, '--json']);
    await watching.says('"running"');
    watching.child.kill('SIGINT');
    const { code, stdout, stderr } = await watching.ended;
    expect([code, stderr]).toEqual([130, expect.stringContaining(`Cancelling ${id}`)]);
    expect(jsonLines(stdout).at(-1)).toMatchObject({ type: 'completed', task: { id, status: 'cancelled' } });
  });

  it('is not in trouble when nobody reads to the end', async () => {
    const command = `"${process.execPath}" src/main.ts types --json | head -c 10`;
    const env = { PATH: process.env.PATH, HOME: shell.home, SUTAZAI_URL: world.url, SUTAZAI_TOKEN: user.token };
    const { stdout, stderr } = await promisify(execFile)('bash', ['-c', command], { env });
    expect([stdout, stderr]).toEqual(['{"name":"e', '']);
  });
});

describe('the page about the command line', () => {
  it('shows commands that work as they stand', async () => {
    const page = readFileSync(join(ROOT, 'docs', 'cli.md'), 'utf8');
    const lines = /```sh\n([\s\S]*?)```/.exec(page)?.[1]?.trim().split('\n') ?? [];
    expect(lines.length).toBeGreaterThan(4);
    // Logging in and out is what the variables stand in for here.
    const script = lines.filter((line) => !/^sutazai log/.test(line)).join('\n');
    const sutazai = `sutazai() { "${process.execPath}" "${ROOT}src/main.ts" "$@"; }`;
    const env = { PATH: process.env.PATH, HOME: shell.home, SUTAZAI_URL: world.url, SUTAZAI_TOKEN: user.token };
    const { stdout } = await promisify(execFile)('bash', ['-ec', `${sutazai}\n${script}`], { env });
    expect(stdout).toContain('"message": "hi"');
    expect(stdout).toContain('Hello from a scripted host');
  });
});

describe('what there is', () => {
  it('is shown with examples that work, and as JSON', async () => {
    const { stdout } = await shell.run(['types']);
    const line = /^ {2}(sutazai run embed .*)$/m.exec(stdout)?.[1] ?? '';
    const words = execFileSync('bash', ['-c', `printf '%s\\n' ${line.replace(/^sutazai /, '')}`], { encoding: 'utf8' });
    const ran = await shell.run([...words.trim().split('\n'), '--json']);
    expect([ran.code, JSON.parse(ran.stdout).status]).toEqual([0, 'completed']);
    const types = jsonLines((await shell.run(['types', '--json'])).stdout);
    expect((await shell.run(['types', '--names'])).stdout.trim().split('\n')).toEqual(types.map(({ name }) => name));
    expect((await shell.run(['models'])).stdout).toMatch(/^tinyllama:latest +completion +host-1\*$/m);
  });

  it('can be pulled and deleted by operators', async () => {
    const pulled = await operator.run(['models', 'pull', 'phi:1b']);
    expect([pulled.code, pulled.stdout]).toEqual([0, 'phi:1b is on host-1\n']);
    expect((await operator.run(['models', 'delete', 'phi:1b', 'gone'])).stdout).toBe('phi:1b is deleted\n');
    expect((await shell.run(['models', 'pull', 'phi:1b'])).code).toBe(1);
  });

  it('can be steered by operators, and others are told that they may not', async () => {
    expect((await operator.run(['queues', 'pause', 'vector'])).stdout).toBe('vector stands still\n');
    expect((await operator.run(['queues'])).stdout).toMatch(/^vector .* paused by u\w+$/m);
    expect((await operator.run(['queues', 'resume', 'vector'])).stdout).toBe('vector goes on\n');
    expect(jsonLines((await operator.run(['queues', '--json'])).stdout)).toHaveLength(6);
    expect((await operator.run(['queues', 'pause', 'nope'])).stderr).toContain('there are llm, embed');
    const { code, stdout, stderr } = await shell.run(['queues']);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain('`sutazai whoami` shows what you may do.');
  });

  it('is printed once by top where stdout is no terminal', async () => {
    world.ollama.script = () => new Promise(() => {});
    const called = world.ollama.nextCall('/api/chat');
    const { id } = await user.submit('chat', { messages: [{ role: 'user', content: 'hi' }] });
    await called;
    const { code, stdout } = await operator.run(['top']);
    expect([code, stdout.includes('\u001b')]).toEqual([0, false]);
    expect(stdout).toContain(`SutazAI at ${world.url}`);
    // What the workers counted: messages of webhooks are no tasks, and stand in their own line alone.
    await sql`insert into lane_minutes (lane, minute, started, completed, failed, runs, run_ms, run_ms_squared)
      values ('vector', floor(extract(epoch from now()) / 60), 6000, 6000, 3000, 0, 0, 0),
        ('webhook', floor(extract(epoch from now()) / 60), 60000, 60000, 60000, 0, 0, 0)`.execute(world.db);
    const counted = (await operator.run(['top'])).stdout;
    const [, completed = 0, failed = 0] = /([\d.]+) completed and ([\d.]+) failed a minute/.exec(counted) ?? [];
    expect(Number(completed)).toBeGreaterThan(900);
    expect(Number(completed)).toBeLessThan(2_000);
    expect(Number(failed)).toBeGreaterThan(450);
    expect(Number(failed)).toBeLessThan(1_000);
    expect(counted).toMatch(/^webhook .* 1[0-2]\d\d\d\.\d +1[0-2]\d\d\d\.\d\s*$/m);
    expect(stdout).toMatch(new RegExp(`^${id} +chat +llm +1 `, 'm'));
    expect((await operator.run(['workers'])).stdout).toContain(id);
    await user.request('POST', `/api/v1/tasks/${id}/cancel`);
    await user.waitForEnd(id);
    await until('the worker is idle', async () => {
      const { stdout: workers } = await operator.run(['workers']);
      return /^\S+ +(\w+ )*llm( \w+)* +idle$/m.test(workers);
    });
  });

  it.skipIf(!HAS_SCRIPT)('is shown live by top in a terminal, which q gives back', async () => {
    const top = operator.inTerminal(['top', '--every', '0.2']);
    await top.says('completed and');
    await user.submit('echo', { message: 'x' });
    await until('it has looked again, twice', () => top.stdout().split(' failed a minute').length > 3);
    top.child.stdin?.write('q');
    const { code, stdout } = await top.ended;
    expect(code).toBe(0);
    expect(stdout.split('SutazAI at').length).toBeGreaterThan(2);
    expect(stdout).toContain('\u001b[?1049h');
    expect(stdout.trimEnd().endsWith('\u001b[?25h\u001b[?1049l')).toBe(true);
  });
});

describe('completion', () => {
  it('completes commands, options and task types in bash', async () => {
    const file = join(shell.home, 'completion.bash');
    writeFileSync(file, (await shell.run(['completion', 'bash'])).stdout);
    const complete = (...words: string[]) => {
      const line = `sutazai() { printf 'echo\\nchat\\n'; }; source '${file}'; COMP_WORDS=(sutazai ${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}; _sutazai; echo "\${COMPREPLY[*]}"`;
      return execFileSync('bash', ['-c', line], { encoding: 'utf8' }).trim().split(' ');
    };
    expect(complete('ta')).toEqual(['tasks']);
    expect(complete('')).toEqual(expect.arrayContaining(['start', 'worker', 'login', 'run', 'top', 'completion']));
    expect(complete('tasks', 'ca')).toEqual(['cancel']);
    expect(complete('tasks', 'list', '--st')).toEqual(['--status']);
    expect(complete('tasks', 'list', '--tag', 'x', '--li')).toEqual(['--limit']);
    expect(complete('run', 'e')).toEqual(['echo']);
    expect(complete('tasks', 'list', '--status', 'failed', 'ca')).toEqual(['cancelling', 'cancelled']);
    expect(complete('tasks', 'bulk', 'r')).toEqual(['retry']);
    expect(complete('queues', 'pause', '')).toEqual(['echo', 'chat']);
    expect(complete('completion', 'f')).toEqual(['fish']);
    expect(complete('secrets', 'rotate', '')).toEqual(['jwt', 'encryption', 'database']);
  });

  it('has scripts for the other shells, and names them where another is asked for', async () => {
    const fish = (await shell.run(['completion', 'fish'])).stdout;
    expect(fish).toContain(`complete -c sutazai -f -n '__fish_use_subcommand' -a tasks -d`);
    expect((await shell.run(['completion', 'zsh'])).stdout).toMatch(/^#compdef sutazai\n/);
    expect((await shell.run(['completion', 'csh'])).stderr).toContain('There are bash, zsh, fish.');
  });
});
