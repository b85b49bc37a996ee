import { QdrantClient } from '@qdrant/js-client-rest';
import { expect, inject } from 'vitest';
import type { Hit, Ingested } from '../../src/tasks/tools.ts';
import type { Client } from './world.ts';

/** What tests of documents do as one user. */
export function documentsOf(client: () => Client) {
  return {
    async ingest(input: Record<string, unknown>): Promise<Ingested> {
      const task = await client().runTask('document.ingest', input);
      expect(task.error).toBeNull();
      return task.output as Ingested;
    },
    async failure(input: Record<string, unknown>) {
      const task = await client().runTask('document.ingest', input, { max_attempts: 1 });
      expect(task.status).toBe('failed');
      return task.error;
    },
    async search(collection: string, query: string, more: Record<string, unknown> = {}): Promise<Hit[]> {
      const task = await client().runTask('vector.search', { collection, query, limit: 50, ...more });
      expect(task.error).toBeNull();
      return (task.output as { hits: Hit[] }).hits;
    },
  };
}

/** Every point that a document has in the store, whether it can be found or not. */
export async function pointsOf(documentId: string, url = inject('qdrantUrl')): Promise<number> {
  const qdrant = new QdrantClient({ url, checkCompatibility: false });
  const filter = { must: [{ key: 'document', match: { value: documentId } }] };
  const { collections } = await qdrant.getCollections();
  const counts = await Promise.all(
    collections.map(({ name }) => qdrant.count(name, { filter, exact: true }).catch(() => ({ count: 0 }))),
  );
  return counts.reduce((sum, { count }) => sum + count, 0);
}

/** Takes every point of a document out of the store, behind everybody's back. */
export async function losePoints(documentId: string, url = inject('qdrantUrl')): Promise<void> {
  const qdrant = new QdrantClient({ url, checkCompatibility: false });
  const filter = { must: [{ key: 'document', match: { value: documentId } }] };
  const { collections } = await qdrant.getCollections();
  for (const { name } of collections) await qdrant.delete(name, { filter, wait: true }).catch(() => {});
}

/** Markdown of so many short sections, each a chunk. */
export const manual = (words: string, sections = 3, more = '') =>
  Array.from({ length: sections }, (_, n) => `# Part ${n}\n\nThe ${words} of part ${n} is here.${more}\n`).join('\n');
