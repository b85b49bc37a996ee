import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { open } from '../support/open.ts';
import { ROOT } from '../support/product.ts';
import { until } from '../support/until.ts';
import { createWorld, type World } from '../support/world.ts';

const run = promisify(execFile);
const dir = mkdtempSync(join(tmpdir(), 'sutazai-pack-'));
const installed = join(dir, 'node_modules', 'sutazai');
/** This Node, and another one where the machine has it: the client wants less than the server. */
const NODES = [process.execPath, ...olderNodes()];

let world: World;
let apiKey: string;
beforeAll(async () => {
  open.add(dir);
  world = await createWorld();
  const client = await world.client();
  apiKey = (await client.request<{ key: string }>('POST', '/api/v1/api-keys', { name: 'package' })).body.key;
  // As npm does it; only that it would ask for the dependencies of the server, too.
  const packed = execFileSync('npm', ['pack', '--pack-destination', dir, '--json', '--loglevel=error'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  const [{ filename }] = JSON.parse(packed.slice(packed.indexOf('[\n')));
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['xzf', join(dir, filename), '-C', installed, '--strip-components=1']);
  writeFileSync(join(dir, 'package.json'), '{"type": "module", "private": true}');
});
afterAll(async () => {
  await world.close();
  await rm(dir, { recursive: true, force: true });
  open.delete(dir);
});

function olderNodes(): string[] {
  const found = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'node'));
  const other = found.filter(existsSync).filter((path) => !path.startsWith(ROOT) && path !== process.execPath);
  return other
    .filter((path) => Number(execFileSync(path, ['-p', 'parseInt(process.versions.node)'], { encoding: 'utf8' })) >= 20)
    .slice(0, 1);
}

/** The programs of the page about the client, for the server of this test. */
function programs(): string[] {
  const page = readFileSync(join(installed, 'docs', 'client.md'), 'utf8');
  return [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code = '']) =>
    code.replaceAll('http://127.0.0.1:3000', world.url).replaceAll('sk_…', apiKey),
  );
}

function compile(files: string[], more: string[] = []): string {
  const tsc = join(ROOT, 'node_modules', '.bin', 'tsc');
  const args = ['--strict', '--target', 'es2022', '--module', 'nodenext', '--skipLibCheck', 'false', ...more, ...files];
  try {
    return execFileSync(tsc, args, { cwd: dir, encoding: 'utf8' });
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}

describe('the package', () => {
  it('brings the client as JavaScript that needs no other package, for whoever imports sutazai/client', async () => {
    writeFileSync(
      join(dir, 'plain.mjs'),
      `import { Sutazai } from 'sutazai/client';
      const sutazai = new Sutazai({ baseUrl: '${world.url}', apiKey: '${apiKey}' });
      const { id } = await sutazai.tasks.submit({ type: 'echo', input: { message: 'hi' } });
      for await (const event of sutazai.tasks.stream(id)) if (event.type === 'completed') console.log(event.task.output.message);`,
    );
    for (const node of NODES) {
      const { stdout, stderr } = await run(node, ['plain.mjs'], { cwd: dir });
      expect([stdout, stderr]).toEqual(['hi\n', '']);
    }
  });

  it('of the client alone installs without anything else, and runs', async () => {
    const alone = join(dir, 'alone');
    mkdirSync(alone);
    writeFileSync(join(alone, 'package.json'), '{"type": "module", "private": true}');
    const quiet = ['--json', '--loglevel=error'];
    const packed = execFileSync('npm', ['pack', join(ROOT, 'dist', 'client-package'), ...quiet], {
      ...{ cwd: alone, encoding: 'utf8' as const },
    });
    const [{ filename }] = JSON.parse(packed);
    // Offline: whatever it asked for would not be found.
    const { stderr: warnings } = await run('npm', ['install', `./${filename}`, '--offline', '--no-audit'], {
      ...{ cwd: alone, env: { PATH: process.env.PATH, HOME: alone, npm_config_cache: join(alone, 'cache') } },
    });
    expect(warnings).toBe('');
    expect(readdirSync(join(alone, 'node_modules')).filter((name) => !name.startsWith('.'))).toEqual(['sutazai']);
    writeFileSync(
      join(alone, 'plain.mjs'),
      `import { Sutazai } from 'sutazai/client';
      const sutazai = new Sutazai({ baseUrl: '${world.url}', apiKey: '${apiKey}' });
      console.log((await sutazai.run('echo', { message: 'hi' })).output.message);`,
    );
    for (const node of NODES) {
      const { stdout, stderr } = await run(node, ['plain.mjs'], { cwd: alone });
      expect([stdout, stderr]).toEqual(['hi\n', '']);
    }
  });

  it('brings types that hold in a strict program of a browser, where nothing of Node is', () => {
    writeFileSync(
      join(dir, 'browser.ts'),
      `import { Sutazai } from 'sutazai/client';
      const sutazai = new Sutazai({ baseUrl: location.origin, token: 't' });
      const task = await sutazai.run('embed', { input: ['a'] });
      const vectors: number[][] | undefined = task.output?.embeddings;
      // @ts-expect-error it is no text
      const wrong: string | undefined = task.output?.embeddings;
      // @ts-expect-error it takes texts
      await sutazai.run('embed', { input: [1] });
      console.log(vectors, wrong);`,
    );
    expect(compile(['browser.ts'], ['--noEmit', '--types', '', '--lib', 'es2022,dom,dom.iterable'])).toBe('');
  });

  it('brings the types of the task types as they are in the sources', () => {
    writeFileSync(
      join(dir, 'same.ts'),
      `import type { TaskTypes as Derived } from '${ROOT}src/client/task-types.ts';
      import type { TaskTypes as Written } from '${installed}/dist/client/task-types.js';
      type In<T extends keyof Written & keyof Derived> = Written[T]['input'] extends Derived[T]['input'] ? never : T;
      type Out<T extends keyof Written & keyof Derived> = Written[T]['output'] extends Derived[T]['output']
        ? Derived[T]['output'] extends Written[T]['output'] ? never : T
        : T;
      export const names: [keyof Derived] extends [keyof Written] ? true : false = true;
      export const inputs: [{ [T in keyof Written]: In<T> }[keyof Written]] extends [never] ? true : false = true;
      export const outputs: [{ [T in keyof Written]: Out<T> }[keyof Written]] extends [never] ? true : false = true;`,
    );
    const flags = ['--noEmit', '--allowImportingTsExtensions', '--skipLibCheck', '--types', 'node', '--lib', 'esnext'];
    expect(compile(['same.ts'], [...flags, '--typeRoots', join(ROOT, 'node_modules', '@types')])).toBe('');
  });

  it('has the command line, which runs from below node_modules too', async () => {
    // What npm brings beside it.
    for (const name of readdirSync(join(ROOT, 'node_modules')))
      if (!existsSync(join(dir, 'node_modules', name)))
        symlinkSync(join(ROOT, 'node_modules', name), join(dir, 'node_modules', name));
    const env = { PATH: process.env.PATH, HOME: dir, SUTAZAI_URL: world.url, SUTAZAI_API_KEY: apiKey };
    const command = ['node_modules/sutazai/bin/sutazai.mjs', 'run', 'echo', '--message', 'hi', '--json'];
    const { stdout, stderr } = await run(process.execPath, command, { cwd: dir, env });
    expect([JSON.parse(stdout).status, stderr]).toEqual(['completed', '']);
    const worker = execFile(process.execPath, [command[0] ?? '', 'api'], {
      ...{ cwd: dir, env: { PATH: process.env.PATH, ...world.env, HEALTH_PORT: '0', LOG_LEVEL: 'info' } },
    });
    open.add(`api ${worker.pid}`);
    let said = '';
    for (const stream of [worker.stdout, worker.stderr])
      stream?.on('data', (piece) => {
        said += piece;
      });
    const ended = new Promise((resolve) => worker.once('close', resolve));
    try {
      await until(`it is up, and not ${said}`, () => said.includes('is up at'));
      // The health port is answered by a thread.
      expect(said).toMatch(/health/);
    } finally {
      worker.kill('SIGTERM');
      expect(await ended).toBe(0);
      open.delete(`api ${worker.pid}`);
    }
  });

  it('has examples in its page that compile and run as they stand', async () => {
    const names = programs().map((code, index) => {
      writeFileSync(join(dir, `example-${index}.ts`), code);
      return `example-${index}`;
    });
    expect(names.length).toBeGreaterThan(4);
    expect(
      compile(
        names.map((name) => `${name}.ts`),
        ['--types', 'node', '--lib', 'es2022'],
      ),
    ).toBe('');
    const outputs = await Promise.all(names.map((name) => run(process.execPath, [`${name}.js`], { cwd: dir })));
    expect(outputs[0]?.stdout).toBe('Hello from a scripted host\n');
    expect(outputs[1]?.stderr).toContain('validation_failed');
    expect(outputs[2]?.stdout).toContain('completed');
    expect(outputs[3]?.stdout).toMatch(/completed \{.*Hello/s);
    expect(outputs[4]?.stdout).toMatch(/completed \{.*The kettle ready 1/s);
  });
});
