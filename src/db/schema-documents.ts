import type { Generated } from 'kysely';
import type { GeneratedTime, Json } from './columns.ts';

/**
 * How far a document is: its text is being read, its chunks are being embedded, it can be found, it is being cleared away.
 * Points of a document are in the vector store from `embedding` on, so a search leaves out what is not `ready`.
 */
export type DocumentStatus = 'reading' | 'embedding' | 'ready' | 'deleting';

export interface DocumentTable {
  /** A UUIDv7: of two documents of one name, the later one stays. */
  id: string;
  user_id: string;
  collection_id: string;
  /** The task that ingests it, or did. It may be gone. */
  task_id: string | null;
  /** What makes it the same document when its content is another: where it came from, or else the title that was given. */
  identity: string | null;
  title: string | null;
  /** The URL or the name of the file. */
  source: string | null;
  content_type: string;
  /** SHA-256 in hex of the content and of what decides on its chunks. */
  content_hash: string;
  metadata: Json<Record<string, unknown>>;
  status: DocumentStatus;
  /** How many chunks it has, from `embedding` on. */
  chunks: Generated<number>;
  /** How many of them are in the vector store for sure, from the first one on: where the next attempt goes on. */
  embedded: Generated<number>;
  /** How many points those that are there have; `null` where each has one, as before chunks had several. */
  points: Generated<number | null>;
  /** The size of the content. */
  bytes: number;
  created_at: GeneratedTime;
  updated_at: GeneratedTime;
}

/** A part of the text of a document: what is embedded and found. */
export interface DocumentChunkTable {
  document_id: string;
  /** From 0. */
  chunk: number;
  /** The headings that it stands under, from the outermost one on; empty where there are none. */
  heading: string;
  text: string;
  /** About so many tokens, heading included; see `src/documents/tokens.ts`. */
  tokens: number;
}
