import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { QdrantClient } from '@qdrant/js-client-rest';
import { onTestFailed } from 'vitest';
import { startVectorStore, type VectorStore } from '../../src/embedded/vectors/server.ts';
import { createLog } from '../../src/log.ts';

/** A vector store of the test's own with the official client on it; `close` keeps the data of a test that failed. */
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
  let failed = false;
  onTestFailed(() => {
    failed = true;
  });
  return {
    dataDir,
    store,
    client: clientOf(store.url),
    async close() {
      await store.close();
      if (!failed) rmSync(dataDir, { recursive: true });
    },
  };
}
