import { afterAll, beforeAll, expect, it } from 'vitest';
import { createShell, jsonLines, type Shell } from '../support/cli.ts';
import { until } from '../support/until.ts';
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

const steps = [
  { id: 'greet', type: 'echo', for_each: 'input.names', input: { message: 'Hello ${{ item }}' } },
  { id: 'ask', type: 'approval', title: 'Send\u001b[2J it?', needs: ['greet'] },
  { id: 'send', type: 'echo', needs: ['ask', 'greet'], input: { message: 'sent' } },
];

it('a workflow is stored, run, drawn as a tree, decided about and deleted by the commands', async () => {
  const stored = await shell.run(['workflows', 'store', 'greet-all', JSON.stringify({ steps })]);
  expect([stored.code, stored.stdout]).toEqual([0, 'greet-all is stored as version 1\n']);
  const [begun, wrong, list, shown] = await Promise.all([
    shell.run(['workflows', 'run', 'greet-all', '--input', '{"names": ["Ann", "Bob"]}', '--no-wait']),
    shell.run(['workflows', 'run', 'greet-all', '--input', '{"names": "Ann"}']),
    shell.run(['workflows', 'list', '--json']),
    shell.run(['workflows', 'show', 'greet-all']),
  ]);
  expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('must give a list')]);
  expect(jsonLines(list.stdout)).toMatchObject([{ name: 'greet-all', version: 1, step_count: 3 }]);
  expect(JSON.parse(shown.stdout)).toEqual({ steps });

  const id = begun.stdout.trim();
  await until('a human is asked', async () => {
    const { body } = await user.request<{ counts: Record<string, number> }>('GET', `/api/v1/tasks/${id}/graph`);
    return body.counts.awaiting === 1;
  });
  const tree = await shell.run(['tasks', 'graph', id]);
  expect(tree.stdout.split('\n')).toEqual([
    'forward: 1 completed, 1 awaiting, 1 waiting',
    expect.stringMatching(/^greet {2}echo completed \[2 of 2\]/),
    '└─ ask  approval awaiting Send [2J it? wants its owner',
    '   └─ send  echo waiting (after greet too)',
    '',
  ]);
  const yes = await shell.run(['tasks', 'approve', id, 'ask', '--comment', 'fine']);
  expect([yes.code, yes.stdout]).toEqual([0, 'ask is approved\n']);
  expect(await user.waitForEnd(id)).toMatchObject({ status: 'completed' });
  const [no, graph, gone] = await Promise.all([
    shell.run(['tasks', 'reject', id, 'ask']),
    shell.run(['tasks', 'graph', id, '--json']),
    shell.run(['workflows', 'delete', 'greet-all']),
  ]);
  expect([no.code, no.stderr]).toEqual([1, expect.stringContaining('approved the step ask already')]);
  expect(jsonLines(graph.stdout)).toMatchObject([{ phase: 'ended', counts: { completed: 3 } }]);
  expect([gone.code, gone.stdout]).toEqual([0, 'greet-all is deleted\n']);
});
