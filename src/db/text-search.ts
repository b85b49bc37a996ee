import { sql } from 'kysely';
import type { Db } from './connect.ts';

/** A chunk that has words of a question, the best first. */
export interface TextHit {
  document_id: string;
  chunk: number;
  score: number;
}

interface Scope {
  userId: string;
  collectionId: string;
}

/** A question has as many words that matter; of a longer text the longest ones count, which tend to be the rarest. */
const MAX_WORDS = 64;

/** Joints are taken out as they are of what is searched: see migration 0020. */
const JOINTS = '[-./_:@=&?#%+~<>|\\\\]';

/**
 * Finds chunks of a collection by the words of a question; some of them are enough. A word counts the more the fewer chunks
 * have it (as in BM25), and in a heading more than in the text. Documents that are not whole are left out.
 */
export async function searchText(
  db: Db,
  { userId, collectionId }: Scope,
  question: string,
  { limit }: { limit: number },
): Promise<TextHit[]> {
  const { words, total } = await readQuestion(db, { userId, collectionId }, question);
  if (words.length === 0) return [];
  const { rows } = await sql<TextHit>`
    with terms as materialized (
      select word, plainto_tsquery('simple', word) as query from unnest(${words}::text[]) as word
    ), found as materialized (
      select c.document_id, c.chunk, c.search from document_chunks c join documents d on d.id = c.document_id
      where d.collection_id = ${collectionId} and d.user_id = ${userId} and d.status = 'ready'
        and c.search @@ ${anyOf(words)}::tsquery
    ), rates as materialized (
      select f.document_id, f.chunk, t.word, ts_rank('{0.5, 0.5, 0.5, 1}', f.search, t.query) as rate
      from found f join terms t on f.search @@ t.query
    ), weights as (
      select word, ln(1 + (greatest(${total}::int, count(*)) - count(*) + 0.5) / (count(*) + 0.5)) as weight from rates group by word
    )
    select document_id, chunk, sum(rate * weight)::float8 as score from rates join weights using (word)
    group by document_id, chunk order by score desc, document_id, chunk
    limit ${limit}`.execute(db);
  return rows;
}

/** The words of a question as they are stored of chunks, without those that say nothing, and how many chunks there are. */
async function readQuestion(db: Db, { userId, collectionId }: Scope, question: string) {
  const { rows } = await sql<{ words: string[]; total: number }>`
    select tsvector_to_array(to_tsvector('english', regexp_replace(${question}, ${JOINTS}, ' ', 'g'))) as words,
      coalesce(sum(chunks), 0)::int as total
    from documents where collection_id = ${collectionId} and user_id = ${userId} and status = 'ready'`.execute(db);
  const { words = [], total = 0 } = rows[0] ?? {};
  return { words: words.sort((a, b) => b.length - a.length || (a < b ? -1 : 1)).slice(0, MAX_WORDS), total };
}

/** As a constant, so that the planner sees how common the words are. */
function anyOf(words: string[]): string {
  return words.map((word) => `'${word.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`).join(' | ');
}
