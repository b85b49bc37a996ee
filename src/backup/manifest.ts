import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import * as v from 'valibot';
import { UsageError } from '../errors.ts';

/** The files of a backup, a folder. */
export const DUMP = 'database.dump';
export const MANIFEST = 'manifest.json';
/** In the form that `sha256sum --check` reads. */
export const CHECKSUMS = 'SHA256SUMS';

/** What a folder is called while it is not whole. */
export const PARTIAL = '.partial';
const NAME = /^sutazai-\d{8}T\d{9}Z$/;

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const schema = v.object({
  format: v.literal(1),
  /** Of the product. */
  version: v.string(),
  made_at: v.pipe(v.string(), v.isoTimestamp()),
  took_ms: count,
  /** Those that were applied, the oldest first. */
  migrations: v.array(v.string()),
  postgres: v.object({ server: v.string(), pg_dump: v.string() }),
  bytes: count,
  /** The rows of each table, in the very state that the dump has. */
  rows: v.record(v.string(), count),
});

/** What a backup says of itself. */
export type Manifest = v.InferOutput<typeof schema>;

/** The sha256 of a file, in hexadecimal. */
export async function checksum(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/**
 * Reads what a backup says of itself, once its files are what their checksums say.
 * @throws UsageError where something is missing or was changed
 */
export async function readBackup(folder: string): Promise<Manifest> {
  const lines = (await readPart(folder, CHECKSUMS)).trim().split('\n');
  const sums = new Map(lines.map((line) => [line.slice(66), line.slice(0, 64)]));
  for (const name of [DUMP, MANIFEST]) {
    const sum = await checksum(join(folder, name)).catch((error) => {
      throw missing(folder, name, error);
    });
    if (sum !== sums.get(name))
      throw new UsageError(
        `${join(folder, name)} is not what ${CHECKSUMS} says: it was changed or cut off. Take another backup; nothing was restored.`,
      );
  }
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), await readPart(folder, MANIFEST));
  if (!parsed.success)
    throw new UsageError(`${join(folder, MANIFEST)} is of a version of the product that this one does not read.`);
  return parsed.output;
}

/** The whole backups in a folder, the oldest first; their names are times. */
export async function listBackups(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((): string[] => []);
  return names.filter((name) => NAME.test(name)).sort();
}

/** Whether it is the name of a backup that is not whole: others have their own files of this ending in such a folder. */
export function isPartial(name: string): boolean {
  return name.endsWith(PARTIAL) && NAME.test(name.slice(0, -PARTIAL.length));
}

/** What a backup of this moment is called. */
export function nameOf(time: Date): string {
  return `sutazai-${time.toISOString().replace(/[-:.]/g, '')}`;
}

async function readPart(folder: string, name: string): Promise<string> {
  return readFile(join(folder, name), 'utf8').catch((error) => {
    throw missing(folder, name, error);
  });
}

function missing(folder: string, name: string, cause: unknown): UsageError {
  return new UsageError(
    `${join(folder, name)} cannot be read: a backup is a folder with ${DUMP}, ${MANIFEST} and ${CHECKSUMS}, as \`sutazai backup\` makes them.`,
    { cause },
  );
}
