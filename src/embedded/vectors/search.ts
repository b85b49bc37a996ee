import type { Collection } from './collections.ts';
import type { Database } from './database.ts';
import { storeError } from './errors.ts';
import { filterToSql, type SqlParams } from './filter-sql.ts';
import { keyToId } from './ids.ts';
import { type JsonObject, shortFloat } from './json.ts';
import { answerOf, type Nearest, type Query } from './point-shape.ts';
import { columnsOf, type PointRow, toRecord, vectorJoin } from './points.ts';
import { toStoredVector } from './vectors.ts';

type ScoredRow = PointRow & { score: number };

/**
 * How a collection scores a stored vector `v` against `$query`, and which end of the scale is better.
 * sqlite-vec has no dot product: it is the cosine times both lengths. A vector of zeros has no cosine and scores 0.
 */
const SCORES = {
  Cosine: { sql: 'coalesce(1.0 - vec_distance_cosine(v.vector, $query), 0.0)', order: 'DESC', passes: '>' },
  Dot: {
    sql: 'coalesce((1.0 - vec_distance_cosine(v.vector, $query)) * v.norm * $norm, 0.0)',
    order: 'DESC',
    passes: '>',
  },
  Euclid: { sql: 'vec_distance_l2(v.vector, $query)', order: 'ASC', passes: '<' },
  Manhattan: { sql: 'vec_distance_l1(v.vector, $query)', order: 'ASC', passes: '<' },
} as const;

// Without a query the points come by id, and the real server gives each the score 1.
const UNSCORED = { sql: '1.0', order: 'DESC', passes: '>' } as const;

/** The nearest points, compared with every stored vector that passes the filter: the answer is exact. */
export function queryPoints(db: Database, collection: Collection, query: Query): JsonObject[] {
  if (query.using) throw storeError('badInput', `Not existing vector name error: ${query.using}`);
  const answer = answerOf(query, false);
  const params: SqlParams = { $limit: query.limit, $offset: query.offset };
  const wheres: string[] = [];
  if (query.query) wheres.push(bindQuery(db, collection, query.query, params));
  if (query.filter) wheres.push(filterToSql(query.filter, params));
  const { sql, order, passes } = query.query ? SCORES[collection.distance] : UNSCORED;
  let threshold = '';
  if (query.score_threshold !== undefined && query.score_threshold !== null) {
    params.$threshold = query.score_threshold;
    threshold = `WHERE score ${passes} $threshold`;
  }
  const rows = db
    .sql(
      // The hits are found first: payloads would otherwise be written out for every point that is compared.
      `WITH scored AS MATERIALIZED (
         SELECT p.id, p.key, ${sql} AS score FROM ${collection.vectors} AS v JOIN ${collection.points} AS p ON p.id = v.id
         ${wheres.length === 0 ? '' : `WHERE ${wheres.join(' AND ')}`}
       ), hits AS MATERIALIZED (
         SELECT id, score FROM scored ${threshold} ORDER BY score ${order}, key LIMIT $limit OFFSET $offset
       )
       SELECT ${columnsOf(answer)}, hits.score FROM hits JOIN ${collection.points} AS p ON p.id = hits.id
       ${vectorJoin(collection, answer)} ORDER BY hits.score ${order}, p.key`,
    )
    .all(params) as ScoredRow[];
  return rows.map((row) => {
    const { id = null, ...rest } = toRecord(row, answer);
    return { id, version: row.version, score: shortFloat(Math.fround(row.score)), ...rest };
  });
}

/** Binds the vector to compare with. Answers a condition, which leaves out the point that was named as the query. */
function bindQuery(db: Database, collection: Collection, nearest: NonNullable<Nearest>, params: SqlParams): string {
  const { bytes, norm } =
    'vector' in nearest ? toStoredVector(collection, nearest.vector) : vectorOf(db, collection, nearest.point);
  params.$query = bytes;
  if (collection.distance === 'Dot') params.$norm = norm;
  if ('vector' in nearest) return 'TRUE';
  params.$self = nearest.point;
  return 'p.key <> $self';
}

function vectorOf(db: Database, collection: Collection, key: string): { bytes: Uint8Array; norm: number } {
  const row = db
    .sql(
      `SELECT v.vector, v.norm FROM ${collection.vectors} AS v JOIN ${collection.points} AS p ON p.id = v.id
       WHERE p.key = ?`,
    )
    .get(key);
  if (!row) throw storeError('notFound', `No point with id ${keyToId(key)} found`);
  return { bytes: row.vector as Uint8Array, norm: Number(row.norm) };
}
