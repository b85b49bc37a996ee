import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

/** The script of the reference page: Scalar in one file, which asks nobody else for anything. */
export interface Bundle {
  plain: Uint8Array<ArrayBuffer>;
  gzipped: Uint8Array<ArrayBuffer>;
  /** Stays the same as long as the script does. */
  mark: string;
}

let loaded: Promise<Bundle> | undefined;

/** Reads it once, when somebody first opens the page. */
export function loadBundle(): Promise<Bundle> {
  loaded ??= load().catch((error) => {
    loaded = undefined;
    throw error;
  });
  return loaded;
}

async function load(): Promise<Bundle> {
  const main = createRequire(import.meta.url).resolve('@scalar/api-reference');
  const plain = Uint8Array.from(await readFile(join(dirname(main), 'browser', 'standalone.js')));
  const mark = createHash('sha256').update(plain).digest('base64url').slice(0, 12);
  return { plain, mark, gzipped: Uint8Array.from(await promisify(gzip)(plain)) };
}
