import { type Collection, nextOperation } from './collections.ts';
import type { Database } from './database.ts';
import { storeError } from './errors.ts';
import { filterToSql, type SqlParams } from './filter-sql.ts';
import { keyToId } from './ids.ts';
import { type Json, type JsonObject, parseJson, stringifyJson } from './json.ts';
import { selectPayload } from './payload-edit.ts';
import { type Answer, type NewPoint, type PointSelection, payloadOf } from './point-shape.ts';
import { fromStoredBytes, toStoredVector } from './vectors.ts';

/** Writes points over those of the same ids: all of them or, when one is wrong, none. Answers the operation's number. */
export function upsertPoints(db: Database, collection: Collection, points: NewPoint[]): number {
  const { points: pointTable, vectors: vectorTable } = collection;
  return db.transaction(() => {
    const version = nextOperation(db, collection);
    const writePoint = db.sql(
      `INSERT INTO ${pointTable} (key, version, payload) VALUES (?, ?, jsonb(?))
       ON CONFLICT (key) DO UPDATE SET version = excluded.version, payload = excluded.payload RETURNING id`,
    );
    const writeVector = db.sql(
      `INSERT INTO ${vectorTable} (id, vector, norm) VALUES (?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET vector = excluded.vector, norm = excluded.norm`,
    );
    for (const point of points) {
      const { bytes, norm } = toStoredVector(collection, point.vector);
      const id = writePoint.get(point.id, version, stringifyJson(payloadOf(point)))?.id;
      writeVector.run(Number(id), bytes, norm);
    }
    return version;
  });
}

/** Deletes the chosen points; ids that are not there are no error. Answers the operation's number. */
export function deletePoints(db: Database, collection: Collection, selection: PointSelection): number {
  return db.transaction(() => {
    const params: SqlParams = {};
    // The vectors go with their points through the foreign key.
    db.sql(`DELETE FROM ${collection.points} AS p WHERE ${selectionToSql(selection, params)}`).run(params);
    return nextOperation(db, collection);
  });
}

/**
 * Rewrites the payloads of the chosen points with `change`, all of them or none. Answers the operation's number.
 * Throws not found when a listed id is not there.
 */
export function changePayloads(
  db: Database,
  collection: Collection,
  selection: PointSelection,
  change: (payload: JsonObject) => JsonObject,
): number {
  return db.transaction(() => {
    const params: SqlParams = {};
    const rows = db
      .sql(
        `SELECT p.id, p.key, json(p.payload) AS payload FROM ${collection.points} AS p
         WHERE ${selectionToSql(selection, params)}`,
      )
      .all(params);
    const found = new Set(rows.map((row) => row.key));
    const missing = selection.points?.find((key) => !found.has(key));
    if (missing !== undefined) throw storeError('notFound', `No point with id ${keyToId(missing)} found`);
    const version = nextOperation(db, collection);
    const write = db.sql(`UPDATE ${collection.points} SET payload = jsonb(?), version = ? WHERE id = ?`);
    for (const row of rows) {
      const payload = parseJson(String(row.payload)) as JsonObject;
      write.run(stringifyJson(change(payload)), version, Number(row.id));
    }
    return version;
  });
}

/** The points of these ids in the order asked for; ids that are not there are left out. */
export function retrievePoints(db: Database, collection: Collection, keys: string[], answer: Answer): JsonObject[] {
  const rows = db
    .sql(
      `SELECT ${columnsOf(answer)} FROM json_each(?) AS wanted JOIN ${collection.points} AS p ON p.key = wanted.value
       ${vectorJoin(collection, answer)} ORDER BY wanted.id`,
    )
    .all(stringifyJson([...new Set(keys)]));
  return rows.map((row) => toRecord(row as PointRow, answer));
}

/** One page of points by id, and the id the next page starts with, null at the end. */
export function scrollPoints(
  db: Database,
  collection: Collection,
  page: { filter?: PointSelection['filter']; offset?: string | null; limit: number },
  answer: Answer,
): { points: JsonObject[]; next_page_offset: Json } {
  const params: SqlParams = { $offset: page.offset ?? '', $limit: page.limit + 1 };
  const where = page.filter ? filterToSql(page.filter, params) : 'TRUE';
  const rows = db
    .sql(
      `SELECT ${columnsOf(answer)} FROM ${collection.points} AS p ${vectorJoin(collection, answer)}
       WHERE p.key >= $offset AND ${where} ORDER BY p.key LIMIT $limit`,
    )
    .all(params) as PointRow[];
  const next = rows[page.limit];
  return {
    points: rows.slice(0, page.limit).map((row) => toRecord(row, answer)),
    next_page_offset: next ? keyToId(next.key) : null,
  };
}

/** How many points pass the filter, exactly. */
export function countPoints(db: Database, collection: Collection, filter: PointSelection['filter']): number {
  const params: SqlParams = {};
  const where = filter ? filterToSql(filter, params) : 'TRUE';
  const row = db.sql(`SELECT count(*) AS count FROM ${collection.points} AS p WHERE ${where}`).get(params);
  return Number(row?.count);
}

/** The columns a record is made of, read from a point `p` and its vector `v`. */
export type PointRow = { key: string; version: number; payload?: string; vector?: Uint8Array };

/** The select list of a `PointRow`: payloads and vectors are only read when they are answered. */
export function columnsOf(answer: Answer): string {
  const payload = answer.with_payload === false ? '' : ', json(p.payload) AS payload';
  return `p.key, p.version${payload}${answer.with_vector ? ', v.vector' : ''}`;
}

/** Joins the vectors when they are answered. */
export function vectorJoin(collection: Collection, answer: Answer): string {
  return answer.with_vector ? `JOIN ${collection.vectors} AS v ON v.id = p.id` : '';
}

/** A point as an answer shows it; what was not asked for is absent. */
export function toRecord(row: PointRow, answer: Answer): JsonObject {
  const payload =
    row.payload === undefined ? undefined : selectPayload(parseJson(row.payload) as JsonObject, answer.with_payload);
  return {
    id: keyToId(row.key),
    ...(payload === undefined ? {} : { payload }),
    ...(row.vector === undefined ? {} : { vector: fromStoredBytes(row.vector) }),
  };
}

function selectionToSql({ points, filter }: PointSelection, params: SqlParams): string {
  if (points) return filterToSql({ must: [{ has_id: points }] }, params);
  if (filter) return filterToSql(filter, params);
  throw storeError('badInput', 'Either a list of points or a filter must be given');
}
