import { sql } from 'kysely';
import type { Db } from './connect.ts';

/** An embedding that is kept for whoever embeds the same text with the same model again. */
export interface CachedEmbedding {
  /** A hash of the digest of the model and of the text. */
  key: Buffer;
  /** Floats of 32 bits, the low byte first. */
  vector: Buffer;
  tokens: number;
}

/** Those of the embeddings that are there; they count as used. */
export async function findEmbeddings(db: Db, keys: Buffer[]): Promise<CachedEmbedding[]> {
  // Once a day is enough to tell what is used, and costs no write for each read.
  const { rows } = await sql<CachedEmbedding>`
    with used as (
      update embedding_cache set used_at = now() where ctid = any(array(
        select ctid from embedding_cache where key = any(${keys}::bytea[]) and used_at < now() - interval '1 day'
        for update skip locked))
    )
    select key, vector, tokens from embedding_cache where key = any(${keys}::bytea[])`.execute(db);
  return rows;
}

/** Keeps embeddings; what is there already stays as it is. */
export async function keepEmbeddings(db: Db, given: CachedEmbedding[]): Promise<void> {
  // In the order of the keys, so that two statements never wait for each other.
  const rows = given.toSorted((a, b) => Buffer.compare(a.key, b.key));
  await sql`
    insert into embedding_cache (key, vector, tokens)
    select * from unnest(${rows.map(({ key }) => key)}::bytea[], ${rows.map(({ vector }) => vector)}::bytea[],
      ${rows.map(({ tokens }) => tokens)}::int[])
    on conflict do nothing`.execute(db);
}

/** Takes away what is beyond so many, the longest unused first; at most `limit` at a time. Answers how many that were. */
export async function trimEmbeddings(db: Db, keep: number, limit: number): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from embedding_cache where ctid = any(array(
      select ctid from embedding_cache
      where used_at <= (select used_at from embedding_cache order by used_at desc offset ${keep}::int limit 1)
      order by used_at limit ${limit}::int for update skip locked))`.execute(db);
  return Number(numAffectedRows ?? 0);
}
