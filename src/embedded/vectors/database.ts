import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { getLoadablePath } from 'sqlite-vec';

/** The one open database: prepared statements are kept, and a request's writes share a transaction. */
export type Database = {
  /** The prepared statement of this text. */
  sql(text: string): StatementSync;
  /** Runs statements that need no parameters, such as those that make tables. */
  exec(text: string): void;
  /** Commits what `work` does, or undoes all of it when `work` throws. */
  transaction<T>(work: () => T): T;
  /** Closes the file. Calling it again does nothing. */
  close(): void;
};

const SQLITE_BUSY = 5;
const MAX_STATEMENTS = 256;

/** Step N brings a file from user_version N to N + 1. Steps are only ever added. */
const MIGRATIONS = [
  `CREATE TABLE collections (
     id INTEGER PRIMARY KEY AUTOINCREMENT,
     name TEXT NOT NULL UNIQUE,
     size INTEGER NOT NULL,
     distance TEXT NOT NULL CHECK (distance IN ('Cosine', 'Dot', 'Euclid', 'Manhattan')),
     config TEXT NOT NULL,
     next_operation INTEGER NOT NULL DEFAULT 0
   ) STRICT;
   CREATE TABLE payload_indexes (
     collection INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE,
     field TEXT NOT NULL,
     schema TEXT NOT NULL,
     PRIMARY KEY (collection, field)
   ) STRICT, WITHOUT ROWID;`,
];

/**
 * Opens `vectors.db` in the folder, making both if need be.
 * Throws when another process holds the file, or when a newer version wrote it.
 */
export function openDatabase(dataDir: string): Database {
  mkdirSync(dataDir, { recursive: true });
  const db = new DatabaseSync(join(dataDir, 'vectors.db'), { allowExtension: true, timeout: 0 });
  try {
    db.loadExtension(getLoadablePath());
    db.enableLoadExtension(false);
    configure(db);
    migrate(db);
  } catch (error) {
    db.close();
    if (errcodeOf(error) !== SQLITE_BUSY) throw error;
    throw new Error(
      `The vector store's folder ${dataDir} is in use by another process: stop that one or choose another folder`,
      { cause: error },
    );
  }
  return fromConnection(db);
}

function configure(db: DatabaseSync): void {
  // Larger pages hold whole vectors: with the default of 4 KiB one of 1024 dimensions would spill over.
  db.exec('PRAGMA page_size = 16384');
  // The lock is held until the process ends, however it ends, and is what keeps a second process out.
  db.exec('PRAGMA locking_mode = EXCLUSIVE');
  db.exec('PRAGMA journal_mode = WAL');
  // FULL, not NORMAL: a caller marks its job done on our answer, and nothing would bring back a write that a
  // power cut took. It costs one fsync a request, and requests carry many points.
  db.exec('PRAGMA synchronous = FULL');
  db.exec('PRAGMA mmap_size = 1073741824');
  db.exec('BEGIN EXCLUSIVE; COMMIT');
}

function migrate(db: DatabaseSync): void {
  const version = Number(db.prepare('PRAGMA user_version').get()?.user_version);
  if (version > MIGRATIONS.length) {
    throw new Error(`The vector store's file has schema ${version}, this version knows up to ${MIGRATIONS.length}`);
  }
  for (const [step, text] of MIGRATIONS.entries()) {
    if (step >= version) db.exec(`BEGIN; ${text} PRAGMA user_version = ${step + 1}; COMMIT`);
  }
}

function fromConnection(db: DatabaseSync): Database {
  const statements = new Map<string, StatementSync>();
  return {
    sql(text) {
      const known = statements.get(text);
      if (known) return known;
      if (statements.size >= MAX_STATEMENTS) {
        const [oldest] = statements.keys();
        if (oldest !== undefined) statements.delete(oldest);
      }
      const statement = db.prepare(text);
      statements.set(text, statement);
      return statement;
    },
    exec: (text) => db.exec(text),
    transaction(work) {
      db.exec('BEGIN IMMEDIATE');
      try {
        const result = work();
        db.exec('COMMIT');
        return result;
      } catch (error) {
        // SQLite has already rolled back by itself after some errors, such as a full disk.
        if (db.isTransaction) db.exec('ROLLBACK');
        throw error;
      }
    },
    close() {
      if (db.isOpen) db.close();
    },
  };
}

function errcodeOf(error: unknown): unknown {
  return error instanceof Error && 'errcode' in error ? error.errcode : undefined;
}
