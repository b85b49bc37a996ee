import type { Db } from '../db/connect.ts';
import { appendToFile, createFile, deleteFile, type FileRow, finishFile, LEAST_BYTES, mayStore } from '../db/files.ts';
import { ProblemError } from '../errors.ts';
import { invalid } from './validate.ts';

/** Where files go. */
export interface Files {
  db: Db;
  /** Of one file, and of all files of a user; 0 is no limit there. */
  files: { maxBytes: number; maxUserBytes: number };
}

/** A file that is coming in. */
export type Begun = Pick<FileRow, 'id' | 'filename' | 'content_type'>;

/** Where an upload is put, a part at a time. */
export interface Shelf<T> {
  begin(about: { filename: string; contentType: string; pointer: string }): Promise<Begun>;
  add(id: string, part: Buffer): Promise<void>;
  /** @param digest of all that was sent */
  finish(id: string, purpose: string, digest: Buffer): Promise<T>;
  drop(id: string): Promise<unknown>;
}

/** Something that is done when a file is there, in the same transaction. */
export type AlsoFinish = (trx: Db, file: FileRow, digest: Buffer) => Promise<unknown>;

/** As file systems have it. */
const MAX_NAME_BYTES = 255;

/** The files of a user. @throws ProblemError where they are full, or the upload took too long */
export function createShelf({ db, files: { maxUserBytes } }: Files, userId: string, also?: AlsoFinish): Shelf<FileRow> {
  return {
    async begin(about) {
      if (!(await mayStore(db, userId, maxUserBytes))) throw filesFull(maxUserBytes);
      const { filename, content_type: contentType } = named(about);
      return createFile(db, { userId, filename, contentType, purpose: '' });
    },
    async add(id, part) {
      const outcome = await appendToFile(db, id, part, maxUserBytes);
      if (outcome === 'full') throw filesFull(maxUserBytes);
      if (outcome === 'gone') throw tooSlow();
    },
    async finish(id, purpose, digest) {
      return db.transaction().execute(async (trx) => {
        const finished = await finishFile(trx, id, { purpose });
        if (!finished) throw tooSlow();
        await also?.(trx, finished, digest);
        return finished;
      });
    },
    drop: (id) => deleteFile(db, userId, id),
  };
}

/** Keeps nothing. */
export const NO_SHELF: Shelf<undefined> = {
  begin: async (about) => ({ id: '', ...named(about) }),
  add: async () => {},
  finish: async () => undefined,
  drop: async () => {},
};

function named({ filename, contentType, pointer }: { filename: string; contentType: string; pointer: string }) {
  const [name, type] = [filename, contentType].map((given) => given.replaceAll(/\p{Cc}/gu, '')) as [string, string];
  // A name that was cut would have lost its ending, and might be that of another file.
  if (Buffer.byteLength(name) > MAX_NAME_BYTES)
    throw invalid([{ pointer, detail: `has a name of more than ${MAX_NAME_BYTES} bytes` }]);
  return { filename: name, content_type: type.slice(0, 255) };
}

const tooSlow = () => new ProblemError('bad_request', 'The upload took too long.');

/** A user has as many files as they may have. */
export function filesFull(maxUserBytes: number): ProblemError {
  return new ProblemError(
    'limit_reached',
    `Your files may have ${maxUserBytes} bytes together (MAX_STORED_BYTES_PER_USER), of which each counts ${LEAST_BYTES} at least. Delete some of them first.`,
    { headers: { Connection: 'close' } },
  );
}
