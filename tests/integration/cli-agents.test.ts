import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Sutazai } from '../../src/client/index.ts';
import { HERE } from '../support/agents.ts';
import { createShell, jsonLines, type Shell } from '../support/cli.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let user: Client;
let shell: Shell;
beforeAll(async () => {
  world = await createWorld({ mode: 'api' });
  user = await world.client();
  shell = createShell({ SUTAZAI_URL: world.url, SUTAZAI_TOKEN: user.token ?? '' });
});
afterAll(async () => {
  await shell.remove();
  await world.close();
});

it('an agent is registered, changed, found and deleted by the client', async () => {
  const sutazai = new Sutazai({ baseUrl: world.url, token: user.token ?? '' });
  const made = await sutazai.agents.create({ name: 'by-client', type: 'http', endpoint: HERE, secrets: { a: 'hush' } });
  expect(made).toMatchObject({ name: 'by-client', endpoint: HERE, secret_names: ['a'], user_id: user.userId });
  const changed = await sutazai.agents.update('by-client', { capabilities: ['x'], secrets: { a: null } });
  expect(changed).toMatchObject({ id: made.id, capabilities: ['x'], secret_names: [] });
  expect(await sutazai.agents.get(made.id)).toEqual(changed);
  expect(await sutazai.agents.health(made.id)).toMatchObject({ agent_id: made.id, state: 'unknown', history: [] });
  await sutazai.agents.check('by-client');
  expect(await sutazai.agents.health('by-client', { history: 0 })).toMatchObject({ state: 'down', history: [] });
  const found: string[] = [];
  for await (const { name } of sutazai.agents.list({ capability: 'x', type: 'http' })) found.push(name);
  expect(found).toEqual(['by-client']);
  await sutazai.agents.delete('by-client');
  await expect(sutazai.agents.get('by-client')).rejects.toMatchObject({ status: 404, code: 'not_found' });
});

it('and by the commands', async () => {
  const fields = ['--capability', 'translation', 'poetry', '--description', 'Two\u001b[2J things', '--port', '9'];
  const made = await shell.run(['agents', 'create', 'poet', 'http://127.0.0.1', ...fields, '--secrets', '-'], {
    stdin: '{"token": "hush"}',
  });
  expect([made.code, made.stderr]).toEqual([0, expect.stringContaining('sutazai agents run poet')]);
  const [list, shown, wrong, both, noJson] = await Promise.all([
    shell.run(['agents', 'list', '--capability', 'poetry']),
    shell.run(['agents', 'show', 'poet']),
    shell.run(['agents', 'create', 'inside', 'http://10.0.0.1', '--type', 'a2a']),
    shell.run(['agents', 'update', 'poet', '--on', '--off']),
    shell.run(['agents', 'update', 'poet', '--secrets', '-'], { stdin: 'token: hush' }),
  ]);
  expect(list.stdout).toMatch(/^poet +http +on +translation poetry +http:\/\/127\.0\.0\.1 \(9\)$/m);
  expect(shown.stdout).toContain('description: Two[2J things');
  expect(shown.stdout).toMatch(/^secret_names: \[\n +"token"\n\]$/m);
  expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('EGRESS_ALLOW')]);
  expect([noJson.code, noJson.stderr]).toEqual([1, expect.stringMatching(/^--secrets is not JSON(?!.*hush)/)]);
  expect([both.code, both.stderr]).toEqual([1, expect.stringContaining('do not go together')]);
  const down = await shell.run(['agents', 'check', 'poet']);
  expect([down.code, down.stdout]).toEqual([
    1,
    expect.stringMatching(/^state: down\ncircuit: closed\ncalls: none yet; 0 under way/),
  ]);
  expect(down.stdout).toMatch(/ probe +failed +\d+ ms +It gave no answer \(ECONNREFUSED\)\.$/m);
  const off = await shell.run(['agents', 'update', 'poet', '--off', '--config', '{"retries": true}', '--json']);
  expect(jsonLines(off.stdout)).toMatchObject([{ is_active: false, config: { retries: true }, port: 9 }]);
  const gone = await shell.run(['agents', 'delete', 'poet', 'nobody']);
  expect([gone.code, gone.stdout, gone.stderr]).toEqual([1, 'poet is deleted\n', expect.stringContaining('nobody: ')]);
});

it('gives an agent something to do, by its name or by what it can do', async () => {
  const parrot = createServer((asked, answer) => {
    answer.setHeader('content-type', asked.headers['content-type'] ?? 'text/plain');
    asked.pipe(answer);
  });
  await new Promise<void>((done) => parrot.listen(0, '127.0.0.1', done));
  try {
    const endpoint = `http://127.0.0.1:${(parrot.address() as AddressInfo).port}`;
    const agent = { name: 'parrot', type: 'http', endpoint, capabilities: ['speech'] };
    expect((await user.request('POST', '/api/v1/agents', agent)).status).toBe(201);
    await world.join('worker', { WORKER_LANES: 'agent' });
    const [named, able, nobody, nothing] = await Promise.all([
      shell.run(['agents', 'run', 'parrot', '--input', '{"say": ["a"]}', '--json']),
      shell.run(['agents', 'run', '--capability', 'speech', 'good', 'morning', '--json']),
      shell.run(['agents', 'run']),
      shell.run(['agents', 'run', 'parrot']),
    ]);
    expect(jsonLines(named.stdout)).toMatchObject([{ status: 'completed', output: { output: { say: ['a'] } } }]);
    expect(jsonLines(able.stdout)).toMatchObject([{ output: { agent: { name: 'parrot' }, output: 'good morning' } }]);
    expect([nobody.code, nobody.stderr]).toEqual([1, expect.stringContaining('Name an agent')]);
    expect([nothing.code, nothing.stderr]).toEqual([1, expect.stringContaining('Give the input')]);
  } finally {
    parrot.close();
  }
});
