import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
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

/** The lines of the first shell block below a heading of a page, for this server. */
function session(page: string, heading: string): string {
  const text = readFileSync(join(ROOT, page), 'utf8');
  const below = text.slice(text.indexOf(heading));
  const script = /```sh\n([\s\S]*?)```/.exec(below)?.[1] ?? '';
  expect(script).toContain('URL=http://127.0.0.1:3000\n');
  return script.replace('URL=http://127.0.0.1:3000', `URL=${product.url}`);
}

/** What a session prints, each line of it read as JSON. */
async function printed(script: string): Promise<Array<Record<string, unknown>>> {
  const { code, output } = await paste(script);
  expect(code, output).toBe(0);
  return output
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

function paste(script: string): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    // A shell that reads its commands from a terminal goes on after each of them; so does one that reads them from a pipe.
    const shell = spawn('bash', [], { env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}` } });
    const output = textOf(shell);
    shell.once('close', async (code) => resolve({ code, output: await output }));
    shell.stdin.end(script);
  });
}

/** Everything that a process prints until its end. */
function textOf(child: ChildProcessWithoutNullStreams): Promise<string> {
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output += chunk;
    });
  return new Promise((resolve) => child.once('close', () => resolve(output)));
}

it('the curl session of README.md works as pasted', async () => {
  const answers = await printed(session('README.md', '## A session with curl'));
  expect(answers[0]).toMatchObject({ username: 'ada', role: 'user' });
  expect(answers[1]).toMatchObject({ type: 'chat', status: 'completed' });
  expect(answers[2]).toMatchObject({ type: 'vector.upsert', status: 'completed', priority: 1 });
  expect(answers[3]).toMatchObject({
    type: 'vector.search',
    output: { hits: [{ id: 1, text: 'The kettle is in the kitchen.' }] },
  });
  expect(answers[4]?.data).toHaveLength(3);
});

it('the five minutes of docs/quickstart.md work as pasted', async () => {
  const answers = await printed(session('docs/quickstart.md', '## 2.'));
  expect(answers).toMatchObject([
    { username: 'grace', role: 'user' },
    { type: 'echo', status: 'completed', output: { message: 'hello' } },
    { type: 'generate', status: 'completed' },
    { type: 'embed', status: 'completed', tags: ['monday'] },
    { status: 'cancelled', cancel_reason: 'by grace' },
    { data: [{ status: 'cancelled' }, { status: 'completed' }], next_cursor: null },
    { name: 'my program', key: expect.stringMatching(/^sk_/) },
  ]);
});

describe('docs/openai.md, against a real model', () => {
  let printedBy: Awaited<ReturnType<typeof paste>>;
  let env: Record<string, string>;
  beforeAll(async () => {
    printedBy = await paste(`${session('docs/openai.md', '## A session')}echo "$OPENAI_BASE_URL $OPENAI_API_KEY"\n`);
    const [OPENAI_BASE_URL = '', OPENAI_API_KEY = ''] = printedBy.output.trim().split('\n').at(-1)?.split(' ') ?? [];
    env = { OPENAI_BASE_URL, OPENAI_API_KEY };
  });

  it('has a session with curl that works as pasted', () => {
    const [models, chat, vectors] = printedBy.output
      .split('\n')
      .slice(0, 3)
      .map((line) => JSON.parse(line));
    expect(models.data.map(({ id }: { id: string }) => id)).toEqual(
      expect.arrayContaining(['stories15m:latest', 'all-minilm:latest']),
    );
    expect(chat).toMatchObject({
      object: 'chat.completion',
      choices: [{ message: { role: 'assistant', content: expect.stringMatching(/\w+ \w+/) }, finish_reason: 'length' }],
      usage: { completion_tokens: 20 },
    });
    expect(vectors.data[0].embedding).toHaveLength(384);
  });

  it('has an example for the official client that works as written', async () => {
    const example = /```js\n([\s\S]*?)```/.exec(readFileSync(join(ROOT, 'docs/openai.md'), 'utf8'))?.[1] ?? '';
    const node = spawn(process.execPath, ['--input-type=module', '-'], { cwd: ROOT, env });
    node.stdin.end(example);
    const output = await textOf(node);
    expect(output).toMatch(/\w+ \w+[\s\S]*\n384 numbers\n$/);
  });
});
