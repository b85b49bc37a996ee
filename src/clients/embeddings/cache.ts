import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { within } from '../../lifecycle.ts';
import type { Logger } from '../../log.ts';
import { createEmbedBatch } from './batches.ts';
import { packFloats, unpackFloats } from './floats.ts';

/** What is remembered of a text. */
export interface Remembered {
  vector: number[];
  /** What embedding it took, in tokens: whoever embeds it again is told the same. */
  tokens: number;
}

/** A row of what all processes remember together. */
export interface StoredEmbedding {
  key: Buffer;
  /** Floats of 32 bits. */
  vector: Buffer;
  tokens: number;
}

/** Where it is kept for all processes. */
export interface EmbeddingStore {
  find(keys: Buffer[]): Promise<StoredEmbedding[]>;
  keep(rows: StoredEmbedding[]): Promise<void>;
}

/** Embeddings of texts that were embedded before, by what computed them and a hash of the text. */
export interface EmbeddingCache {
  /** What is remembered of each text; never throws, and never takes long. @param model what computes them: the digest of the model */
  find(model: string, texts: readonly string[]): Promise<Array<Remembered | undefined>>;
  keep(model: string, texts: readonly string[], embedded: readonly Remembered[]): void;
}

interface Options {
  /** What this process may keep in memory. */
  maxBytes: number;
  store: EmbeddingStore;
  log: Logger;
}

/** Computing is the other way, so a database that takes longer is not waited for. */
const PATIENCE_MS = 500;
const AWAY_MS = 5_000;
const NEVER = new AbortController().signal;
/** What an entry takes besides its numbers. */
const ENTRY_BYTES = 250;

/** Makes it, empty. */
export function createEmbeddingCache({ maxBytes, store, log }: Options): EmbeddingCache {
  const memory = new LRUCache<string, Remembered>({
    maxSize: maxBytes,
    sizeCalculation: ({ vector }) => vector.length * 8 + ENTRY_BYTES,
  });
  let awayUntil = 0;

  /** A store that does not answer is left alone for a moment. */
  async function ask<T>(work: () => Promise<T>): Promise<T | undefined> {
    if (performance.now() < awayUntil) return undefined;
    try {
      return await within(work(), PATIENCE_MS, 'the remembered embeddings');
    } catch (error) {
      awayUntil = performance.now() + AWAY_MS;
      log.debug({ err: error }, 'remembered embeddings could not be read or written');
      return undefined;
    }
  }

  // Callers who come together ask together here too, so that they come to the host together.
  const read = createEmbedBatch<Remembered | undefined>({
    parallel: 1,
    async ask(keys) {
      const rows = await ask(() => store.find(keys.map((key) => Buffer.from(key, 'base64'))));
      const found = new Map(rows?.map((row) => [row.key.toString('base64'), row]));
      return keys.map((key) => {
        const row = found.get(key);
        return row && { vector: unpackFloats(row.vector), tokens: row.tokens };
      });
    },
  });

  return {
    async find(model, texts) {
      const keys = texts.map((text) => keyOf(model, text));
      const found = new Map(keys.map((key) => [key, memory.get(key)]));
      const missing = [...found].filter(([, known]) => !known).map(([key]) => key);
      const rows = missing.length > 0 ? await read(missing, { signal: NEVER }) : [];
      for (const [index, key] of missing.entries()) {
        const row = rows[index];
        if (!row) continue;
        found.set(key, row);
        memory.set(key, row);
      }
      return keys.map((key) => found.get(key));
    },
    keep(model, texts, embedded) {
      const rows = texts.flatMap((text, index) => {
        const one = embedded[index] as Remembered;
        if (!one.vector.every(Number.isFinite)) return [];
        const key = keyOf(model, text);
        memory.set(key, one);
        return [{ key: Buffer.from(key, 'base64'), vector: packFloats(one.vector), tokens: one.tokens }];
      });
      // Nobody waits for it: what cannot be kept is computed again.
      if (rows.length > 0) void ask(() => store.keep(rows));
    },
  };
}

/** Names neither the model nor the text. */
function keyOf(model: string, text: string): string {
  const hash = createHash('sha256').update(text).digest();
  return createHash('sha256').update(`${model}\0`).update(hash).digest('base64');
}
