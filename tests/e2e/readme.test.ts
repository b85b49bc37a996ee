import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { dataFolder, type Product, ROOT, startProduct } from '../support/product.ts';

const folder = dataFolder();
let product: Product;
beforeAll(async () => {
  product = await startProduct(['start'], folder.env);
});
afterAll(async () => {
  await product.stop('SIGTERM');
  await folder.remove();
});

/** The lines of the first shell block below a heading. */
function session(heading: string): string {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const below = readme.slice(readme.indexOf(heading));
  return /```sh\n([\s\S]*?)```/.exec(below)?.[1] ?? '';
}

function paste(script: string): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    // A shell that reads its commands from a terminal goes on after each of them; so does one that reads them from a pipe.
    const shell = spawn('bash', [], { env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}` } });
    let output = '';
    shell.stdout.on('data', (chunk) => {
      output += chunk;
    });
    shell.stderr.on('data', (chunk) => {
      output += chunk;
    });
    shell.once('close', (code) => resolve({ code, output }));
    shell.stdin.end(script);
  });
}

it('has a curl session that works as pasted', async () => {
  const script = session('## A session with curl').replace('URL=http://127.0.0.1:3000', `URL=${product.url}`);
  expect(script).toContain(product.url);
  const { code, output } = await paste(script);
  expect(code, output).toBe(0);
  const answers = output
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  expect(answers[0]).toMatchObject({ username: 'ada', role: 'user' });
  expect(answers[1]).toMatchObject({ type: 'chat', status: 'completed' });
  expect(answers[2]).toMatchObject({ type: 'vector.upsert', status: 'completed', priority: 1 });
  expect(answers[3]).toMatchObject({
    type: 'vector.search',
    output: { hits: [{ id: 1, text: 'The kettle is in the kitchen.' }] },
  });
  expect(answers[4].data).toHaveLength(3);
}, 60_000);
