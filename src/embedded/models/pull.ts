import { createHash } from 'node:crypto';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Catalog } from './catalog.ts';
import { messageOf } from './errors.ts';
import { fileOfName, fullName } from './names.ts';
import { temporaryName } from './prepare.ts';

/** A line of `/api/pull`, as Ollama writes it. */
export type PullStatus = { status: string; digest?: string; total?: number; completed?: number };

export type PullOptions = { catalog: Catalog; modelsDir: string; hubUrl: string };

type HubFile = { path: string; size: number; sha256: string | undefined };

/** What Ollama takes when a name of the hub has no quantisation behind the colon. */
const PREFERRED = 'Q4_K_M';
/** How often progress is told. */
const PROGRESS_MS = 100;

const hubTree = v.array(
  v.looseObject({
    type: v.string(),
    path: v.string(),
    size: v.optional(v.number(), 0),
    lfs: v.optional(v.looseObject({ oid: v.string(), size: v.number() })),
  }),
);

/**
 * Pulls a model: one that is here already is there at once, `hf.co/ORG/REPOSITORY[:QUANTISATION]` is downloaded as a
 * GGUF file, any other name is an error. Nothing is left behind when it fails or the signal aborts.
 * @throws with the text for Ollama's last line, `pull model manifest: …` when no file was found to download
 */
export async function* pull(name: string, options: PullOptions, signal: AbortSignal): AsyncGenerator<PullStatus> {
  yield { status: 'pulling manifest' };
  const existing = await options.catalog.findModel(name);
  if (existing) {
    const { digest, size } = existing;
    yield { ...layer(digest), total: size, completed: size };
    yield* finish();
    return;
  }
  const { repository, file } = await findFile(name, options, signal).catch((error) => {
    throw new Error(`pull model manifest: ${reason(error)}`);
  });
  await mkdir(options.modelsDir, { recursive: true });
  const temporary = temporaryName(join(options.modelsDir, fileOfName(name)));
  try {
    const url = `${options.hubUrl}/${repository}/resolve/main/${file.path.split('/').map(encodeURIComponent).join('/')}`;
    const digest = yield* download(url, temporary, file, signal);
    if (file.sha256 && digest !== file.sha256) {
      throw new Error(`digest mismatch, file must be downloaded again: want ${file.sha256}, got ${digest}`);
    }
    await options.catalog.add(name, temporary, digest);
  } finally {
    await rm(temporary, { force: true });
  }
  yield* finish();
}

function* finish(): Generator<PullStatus> {
  yield { status: 'verifying sha256 digest' };
  yield { status: 'writing manifest' };
  yield { status: 'success' };
}

function layer(digest: string): PullStatus {
  return { status: `pulling ${digest.slice(0, 12)}`, digest: `sha256:${digest}` };
}

async function findFile(name: string, { hubUrl }: PullOptions, signal: AbortSignal) {
  const [, organisation, repo, tag = 'latest'] =
    /^hf\.co\/(\w[\w.-]*)\/(\w[\w.-]*):(\w[\w.-]*)$/i.exec(fullName(name)) ?? [];
  if (!organisation || !repo) {
    throw new Error(
      `"${name}" is unknown here: the embedded model server pulls only GGUF files, as hf.co/ORG/REPOSITORY`,
    );
  }
  const repository = `${organisation}/${repo}`;
  const response = await fetch(`${hubUrl}/api/models/${repository}/tree/main?recursive=true`, { signal });
  if (!response.ok) throw new Error(`the hub answers ${response.status} for ${repository}`);
  const files = v.parse(hubTree, await response.json()).flatMap(({ type, path, size, lfs }): HubFile[] => {
    const usable = type === 'file' && /\.gguf$/i.test(path) && !/mmproj|-\d{5}-of-\d{5}\.gguf$/i.test(path);
    return usable ? [{ path, size: lfs?.size ?? size, sha256: lfs?.oid.replace(/^sha256:/, '') }] : [];
  });
  const wanted = tag === 'latest' ? PREFERRED : tag;
  const fitting = files.find(({ path }) => path.toLowerCase().includes(wanted.toLowerCase()));
  const file = fitting ?? (tag === 'latest' ? files[0] : undefined);
  if (!file) {
    const there = files.map(({ path }) => path).join(', ') || 'none in one part';
    throw new Error(`${repository} has no GGUF file for ${tag} (there is: ${there})`);
  }
  return { repository, file };
}

/** Writes the file and returns its SHA-256. */
async function* download(
  url: string,
  path: string,
  file: HubFile,
  signal: AbortSignal,
): AsyncGenerator<PullStatus, string> {
  const response = await fetch(url, { signal });
  if (!response.ok || !response.body) throw new Error(`download failed: the hub answers ${response.status}`);
  const hash = createHash('sha256');
  const line = layer(file.sha256 ?? createHash('sha256').update(url).digest('hex'));
  yield { ...line, total: file.size };
  const output = await open(path, 'w');
  let completed = 0;
  let told = performance.now();
  try {
    for await (const chunk of response.body) {
      hash.update(chunk);
      await output.writeFile(chunk);
      completed += chunk.length;
      if (performance.now() - told < PROGRESS_MS) continue;
      told = performance.now();
      yield { ...line, total: file.size, completed };
    }
    await output.sync();
  } finally {
    await output.close();
  }
  if (file.size > 0 && completed !== file.size)
    throw new Error(`download ended after ${completed} of ${file.size} bytes`);
  yield { ...line, total: file.size, completed };
  return hash.digest('hex');
}

/** `fetch failed` alone tells nobody that there is no network; its cause does. */
function reason(error: unknown): string {
  const cause = error instanceof Error && error.cause ? `: ${messageOf(error.cause)}` : '';
  return messageOf(error) + cause;
}
