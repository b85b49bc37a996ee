import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { ROOT } from '../support/sources.ts';

const SCRIPT = `
import { createLog } from './src/log.ts';
const log = createLog('info', { format: process.argv[1] });
const cause = Object.assign(new Error('a \\u001b[31mred\\u001b[0m one'), { code: 'ECONNRESET', detail: 'row: hidden' });
log.child({ part: 'p' }).warn({
  err: new Error('outer', { cause }),
  password: 'hidden',
  headers: { authorization: 'hidden', 'x-api-key': 'hidden', 'set-cookie': 'hidden' },
  agent: { config: { calls: [{ Authorization: 'hidden', apiKey: 'hidden', url: 'shown' }] } },
  a: { b: { c: { d: { e: { f: { g: 'hidden' } } } } } },
  failed: [Object.assign(new Error('in a list'), { detail: 'row: hidden' })],
  when: new Date(0),
  request_id: 'the-request',
}, 'said');
`;

/** What a process that logs in this format writes to stderr. */
function written(format: string): string {
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', SCRIPT, format];
  return execFileSync('sh', ['-c', '"$0" "$@" 2>&1', process.execPath, ...args], { cwd: ROOT, encoding: 'utf8' });
}

it('a line is JSON for machines, with what an error may say and without secrets', () => {
  const text = written('json');
  expect(text.trim().split('\n')).toHaveLength(1);
  const line = JSON.parse(text);
  expect(line).toMatchObject({ level: 'warn', name: 'sutazai', msg: 'said', request_id: 'the-request' });
  expect(line.err).toMatchObject({ message: 'outer', cause: { code: 'ECONNRESET', message: 'a [31mred[0m one' } });
  expect(text).not.toContain('hidden');
  expect(text.match(/\[redacted\]/g)).toHaveLength(6);
  expect(line.agent.config.calls).toEqual([{ Authorization: '[redacted]', apiKey: '[redacted]', url: 'shown' }]);
  expect(line.a.b.c.d.e).toEqual({ f: '[too deep]' });
  expect(line).toMatchObject({ failed: [{ message: 'in a list' }], when: '1970-01-01T00:00:00.000Z', part: 'p' });
});

it('and text for people, where nothing that was said steers the terminal', () => {
  const text = written('text');
  expect(text).toMatch(/^\[?\d\d:\d\d:\d\d\.\d+\]? WARN.*said$/m);
  expect(text).toContain('request_id: "the-request"');
  expect(text).toMatch(/at .*\n/);
  for (const bad of ['hidden', '\u001b']) expect(text).not.toContain(bad);
});

it('a process whose lines nobody reads any more goes on, and ends when it has nothing to do', async () => {
  const script = `
    import { createLog } from './src/log.ts';
    for (let n = 0; n < 11; n++) createLog('info', { format: 'json' });
    const log = createLog('info', { format: 'json' });
    log.info('first');
    process.stdin.once('data', () => {
      log.info('to nobody');
      setImmediate(() => setImmediate(() => log.info('to nobody either')));
      process.stdin.destroy();
    });`;
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script],
    {
      cwd: ROOT,
    },
  );
  try {
    const [said] = await once(child.stderr, 'data');
    // And nothing is said of many loggers in one process.
    expect(String(said)).toMatch(/^\{.*"first"\}\n$/);
    child.stderr.destroy();
    await once(child.stderr, 'close');
    child.stdin.write('go on');
    expect(await once(child, 'exit')).toEqual([0, null]);
  } finally {
    child.kill('SIGKILL');
  }
});
