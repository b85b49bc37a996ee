import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Logger } from '../../log.ts';
import { type ModelCard, readCard } from './card.ts';
import { httpError, messageOf, notFound } from './errors.ts';
import { fileOfName, nameOfFile, sameName } from './names.ts';
import { type PreparedModel, sha256Of, temporaryName } from './prepare.ts';

/** A model that can be served. `digest` is the SHA-256 of the file, as hex. */
export type Model = {
  name: string;
  path: string;
  builtIn: boolean;
  size: number;
  modifiedAt: Date;
  digest: string;
  card: ModelCard;
};

type Known = { size: number; mtimeMs: number; model: Promise<Model | undefined> };

export type Catalog = ReturnType<typeof createCatalog>;

/**
 * The models there are: the prepared ones and every `*.gguf` in `modelsDir`, which is looked at afresh each time.
 * A file is read and hashed once for each size and modification time; hashes of users' files are kept in `cacheDir`.
 */
export function createCatalog(options: {
  prepared: PreparedModel[];
  cacheDir: string;
  modelsDir: string;
  log: Logger;
}) {
  const { prepared, modelsDir, log } = options;
  const digestsDir = join(options.cacheDir, 'digests');
  const known = new Map<string, Known>();

  async function read(name: string, path: string, sha256?: string): Promise<Model | undefined> {
    const file = await stat(path).catch(() => undefined);
    if (!file?.isFile()) return undefined;
    const { size, mtimeMs } = file;
    const before = known.get(path);
    if (before && before.size === size && before.mtimeMs === mtimeMs) return before.model;
    const model = load(name, path, size, mtimeMs, sha256).catch((error) => {
      log.warn({ path, error: messageOf(error) }, 'this file is left out: it cannot be read as a GGUF model');
      return undefined;
    });
    known.set(path, { size, mtimeMs, model });
    return model;
  }

  async function load(name: string, path: string, size: number, mtimeMs: number, sha256?: string): Promise<Model> {
    const card = await readCard(path);
    const digest = sha256 ?? (await findDigest(path, size, mtimeMs)) ?? (await keepDigest(path, await sha256Of(path)));
    return { name, path, builtIn: sha256 !== undefined, size, modifiedAt: new Date(mtimeMs), digest, card };
  }

  async function findDigest(path: string, size: number, mtimeMs: number): Promise<string | undefined> {
    const kept = await readFile(join(digestsDir, basename(path)), 'utf8').catch(() => '');
    const [keptSize, keptTime, digest] = kept.trim().split(' ');
    return Number(keptSize) === size && Number(keptTime) === mtimeMs ? digest : undefined;
  }

  /** Keeps the hash of a user's file, so that the next start does not read gigabytes again. Returns the hash. */
  async function keepDigest(path: string, digest: string): Promise<string> {
    const { size, mtimeMs } = await stat(path);
    await mkdir(digestsDir, { recursive: true });
    const target = join(digestsDir, basename(path));
    const temporary = temporaryName(target);
    await writeFile(temporary, `${size} ${mtimeMs} ${digest}\n`);
    await rename(temporary, target);
    return digest;
  }

  /** All candidates, cheap to list: names and paths, nothing read yet. */
  async function candidates(): Promise<PreparedOrFound[]> {
    const files = await readdir(modelsDir).catch(() => []);
    const found: PreparedOrFound[] = prepared.slice();
    for (const file of files.sort()) {
      const name = nameOfFile(file);
      if (name && !found.some((other) => sameName(other.name, name))) found.push({ name, path: join(modelsDir, file) });
    }
    return found;
  }

  async function findModel(name: string): Promise<Model | undefined> {
    const candidate = (await candidates()).find((other) => sameName(other.name, name));
    return candidate && read(candidate.name, candidate.path, candidate.sha256);
  }

  async function getModel(name: string): Promise<Model> {
    if (!name) throw httpError(400, 'model is required');
    const model = await findModel(name);
    if (!model) throw notFound(name);
    return model;
  }

  return {
    findModel,
    /** @throws the 404 of Ollama, or 400 for an empty name */
    getModel,
    async list(): Promise<Model[]> {
      const models = await Promise.all((await candidates()).map(({ name, path, sha256 }) => read(name, path, sha256)));
      return models.filter((model) => model !== undefined);
    },
    /** Moves a finished download under the name it was pulled by. */
    async add(name: string, temporary: string, digest: string): Promise<void> {
      const path = join(modelsDir, fileOfName(name));
      await rename(temporary, path);
      await keepDigest(path, digest);
    },
    /** @throws 400 when the model is built in */
    checkRemovable(model: Model): void {
      if (model.builtIn) throw httpError(400, `model '${model.name}' is built in and cannot be deleted`);
    },
    /** Deletes the file of a user's model. */
    async remove(model: Model): Promise<void> {
      await rm(model.path, { force: true });
      await rm(join(digestsDir, basename(model.path)), { force: true });
      known.delete(model.path);
    },
  };
}

type PreparedOrFound = { name: string; path: string; sha256?: string };
