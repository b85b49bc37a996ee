import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createShell } from '../support/cli.ts';
import { dataFolder, ROOT, runCommand } from '../support/product.ts';

const TYPES = [
  'echo',
  'chat',
  'generate',
  'embed',
  'http.request',
  'agent.run',
  'vector.upsert',
  'vector.search',
  'vector.delete',
];

it('runs one task of each kind, shows the results, checks a webhook, and exits 0', async () => {
  const folder = dataFolder();
  const { code, stdout, stderr } = await runCommand(['demo'], folder.env);
  await folder.remove();
  expect(code, stderr).toBe(0);
  for (const type of TYPES)
    expect(stdout).toMatch(
      new RegExp(`▸ ${type.replace('.', '\\.')} \\(.*\\) accepted as [0-9a-f-]{36}\\n  completed in`),
    );
  expect(stdout).toContain('{"greeting":"Hello, Ada"}');
  expect(stdout).toContain('"output":"Hello, Grace"');
  // Its own, because a configured vector store may have a collection named notes.
  expect(stdout).toMatch(/\{"collection":"demo-\d+","deleted":1\}/);
  expect(stdout).not.toContain('"notes"');
  expect(stdout).toContain('"text":"The kettle is in the kitchen."');
  expect(stdout).toContain('Webhook received and its signature verified: task.completed for workflow');
  expect(stdout).toMatch(/\/admin\/queues/);
  expect(stdout).toContain('Stopped cleanly');
});

it('stops at once on a Ctrl-C while it starts, and says so', async () => {
  const shell = createShell();
  const demo = shell.start(['demo'], { env: { CACHE_DIR: join(ROOT, '.cache') } });
  await demo.says('Starting what is not configured');
  demo.child.kill('SIGINT');
  const { code, stdout } = await demo.ended;
  await shell.remove();
  expect([code, stdout]).toEqual([130, expect.stringMatching(/Stopping …\n$/)]);
});

it('names the next command when something fails', async () => {
  const folder = dataFolder();
  const { code, stderr } = await runCommand(['demo'], { ...folder.env, OLLAMA_HOST: '127.0.0.1:1' });
  await folder.remove();
  expect(code).toBe(1);
  expect(stderr).toContain('look at OLLAMA_HOST');
});
