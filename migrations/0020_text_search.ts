import { type Kysely, sql } from 'kysely';

/** `create index concurrently` cannot run inside a transaction, so every step may be done again. */
export const transactional = false;

/** What joins words in names and paths, `vector.search` or `MAX_BODY_BYTES`; left there, each would be one word that nobody asks for. */
const JOINTS = '[-./_:@=&?#%+~<>|\\\\]';

const words = (column: string) => `to_tsvector('english'::regconfig, regexp_replace(${column}, '${JOINTS}', ' ', 'g'))`;

const COLUMN = `alter table document_chunks add column if not exists search tsvector
  generated always as (setweight(${words('heading')}, 'A') || ${words('text')}) stored`;

export async function up(db: Kysely<never>): Promise<void> {
  await sql.raw(COLUMN).execute(db);
  // What a killed run leaves behind is an invalid index under the same name: unused, but still written to.
  const { rows } = await sql`select 1 from pg_index
    where indexrelid = to_regclass('document_chunks_search_idx') and not indisvalid`.execute(db);
  if (rows.length > 0) await sql`drop index concurrently document_chunks_search_idx`.execute(db);
  await sql`create index concurrently if not exists document_chunks_search_idx on document_chunks using gin (search)`.execute(
    db,
  );
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`drop index concurrently if exists document_chunks_search_idx`.execute(db);
  await sql`alter table document_chunks drop column if exists search`.execute(db);
}
