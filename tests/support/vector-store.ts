import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { QdrantClient } from '@qdrant/js-client-rest';
import { expect, onTestFailed } from 'vitest';
import { startVectorStore, type VectorStore } from '../../src/embedded/vectors/server.ts';
import { createLog } from '../../src/log.ts';
import { startCheckedStore } from './qdrant-contract.ts';

/** A vector store of the test's own with the official client on it, both held against Qdrant's own document; `close` keeps the data of a test that failed. */
export interface TestVectorStore {
  dataDir: string;
  store: VectorStore;
  client: QdrantClient;
  close(): Promise<void>;
}

export const clientOf = (url: string) => new QdrantClient({ url, checkCompatibility: false });

/** Starts it on an empty folder; call it in `beforeEach` and give `close` back. */
export async function startTestVectorStore(): Promise<TestVectorStore> {
  const dataDir = mkdtempSync(join(tmpdir(), 'vectors-'));
  const store = await startVectorStore({ dataDir, log: createLog('silent') });
  const front = await startCheckedStore(store.url);
  let failed = false;
  onTestFailed(() => {
    failed = true;
  });
  return {
    dataDir,
    store,
    client: clientOf(front.url),
    async close() {
      await front.close();
      await store.close();
      expect(front.problems, 'what Qdrant would not take, or not answer').toEqual([]);
      if (!failed) rmSync(dataDir, { recursive: true });
    },
  };
}
