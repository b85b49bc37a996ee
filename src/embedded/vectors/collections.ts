import type * as v from 'valibot';
import {
  type CreateCollection,
  type CreateIndex,
  checkNewCollection,
  type Distance,
  initialConfig,
  type UpdateCollection,
  updatedConfig,
} from './collection-shape.ts';
import type { Database } from './database.ts';
import { storeError } from './errors.ts';
import { filterToSql, type SqlParams } from './filter-sql.ts';
import { isJsonObject, type Json, type JsonObject, parseJson, stringifyJson } from './json.ts';
import { parsePath } from './payload-path.ts';

/** A collection and the names of its two tables: vectors are kept apart so that a scan reads nothing else. */
export type Collection = {
  id: number;
  name: string;
  size: number;
  distance: Distance;
  config: JsonObject;
  points: string;
  vectors: string;
};

/** The names of all collections. */
export function listCollections(db: Database): string[] {
  return db
    .sql('SELECT name FROM collections ORDER BY name')
    .all()
    .map((row) => String(row.name));
}

/** The collection of that name, or undefined. */
export function findCollection(db: Database, name: string): Collection | undefined {
  const row = db.sql('SELECT id, size, distance, config FROM collections WHERE name = ?').get(name);
  if (!row) return undefined;
  const id = Number(row.id);
  return {
    id,
    name,
    size: Number(row.size),
    distance: row.distance as Distance,
    config: parseJson(String(row.config)) as JsonObject,
    points: `points_${id}`,
    vectors: `vectors_${id}`,
  };
}

/** The collection of that name. Throws not found. */
export function getCollection(db: Database, name: string): Collection {
  const collection = findCollection(db, name);
  if (!collection) throw storeError('notFound', `Collection \`${name}\` doesn't exist!`);
  return collection;
}

/** Makes a collection. Throws when one of that name exists. */
export function createCollection(db: Database, name: string, given: v.InferOutput<typeof CreateCollection>): void {
  checkNewCollection(name, given.vectors.size);
  db.transaction(() => {
    if (findCollection(db, name)) throw storeError('exists', `Collection \`${name}\` already exists!`);
    const { size, distance } = given.vectors;
    const { lastInsertRowid: id } = db
      .sql('INSERT INTO collections (name, size, distance, config) VALUES (?, ?, ?, ?)')
      .run(name, size, distance, stringifyJson(initialConfig(given)));
    db.exec(
      `CREATE TABLE points_${id} (
         id INTEGER PRIMARY KEY,
         key TEXT NOT NULL UNIQUE,
         version INTEGER NOT NULL,
         payload BLOB NOT NULL
       ) STRICT;
       CREATE TABLE vectors_${id} (
         id INTEGER PRIMARY KEY REFERENCES points_${id} ON DELETE CASCADE,
         vector BLOB NOT NULL,
         norm REAL NOT NULL
       ) STRICT;`,
    );
  });
}

/** Lays an update over a collection's configuration. */
export function updateCollection(db: Database, name: string, update: v.InferOutput<typeof UpdateCollection>): void {
  db.transaction(() => {
    const { id, config } = getCollection(db, name);
    db.sql('UPDATE collections SET config = ? WHERE id = ?').run(stringifyJson(updatedConfig(config, update)), id);
  });
}

/** Drops a collection with its points. Answers whether there was one. */
export function deleteCollection(db: Database, name: string): boolean {
  return db.transaction(() => {
    const collection = findCollection(db, name);
    if (!collection) return false;
    db.exec(`DROP TABLE ${collection.vectors}; DROP TABLE ${collection.points};`);
    db.sql('DELETE FROM collections WHERE id = ?').run(collection.id);
    return true;
  });
}

/** What `GET /collections/{name}` answers. */
export function describeCollection(db: Database, name: string): JsonObject {
  const collection = getCollection(db, name);
  const count = Number(db.sql(`SELECT count(*) AS count FROM ${collection.points}`).get()?.count);
  return {
    status: 'green',
    optimizer_status: 'ok',
    indexed_vectors_count: count,
    points_count: count,
    segments_count: 1,
    config: collection.config,
    payload_schema: describeIndexes(db, collection),
  };
}

/** Notes that a field is indexed. Every search here is exact and reads all points, so nothing is built. */
export function createIndex(db: Database, collection: Collection, given: v.InferOutput<typeof CreateIndex>): void {
  const schema = typeof given.field_schema === 'string' ? { type: given.field_schema } : given.field_schema;
  db.sql('INSERT OR REPLACE INTO payload_indexes (collection, field, schema) VALUES (?, ?, ?)').run(
    collection.id,
    given.field_name,
    stringifyJson(schema as JsonObject),
  );
}

/** Forgets that a field is indexed. */
export function deleteIndex(db: Database, collection: Collection, field: string): void {
  db.sql('DELETE FROM payload_indexes WHERE collection = ? AND field = ?').run(collection.id, field);
}

/** Takes the next number of a change to the collection; it becomes the version of every point the change writes. */
export function nextOperation(db: Database, collection: Collection): number {
  const row = db
    .sql('UPDATE collections SET next_operation = next_operation + 1 WHERE id = ? RETURNING next_operation - 1 AS id')
    .get(collection.id);
  return Number(row?.id);
}

function describeIndexes(db: Database, collection: Collection): JsonObject {
  const rows = db
    .sql('SELECT field, schema FROM payload_indexes WHERE collection = ? ORDER BY field')
    .all(collection.id);
  return Object.fromEntries(
    rows.map((row): [string, Json] => {
      const field = String(row.field);
      const schema = parseJson(String(row.schema));
      const type = isJsonObject(schema) ? (schema.type ?? null) : null;
      const params: JsonObject = isJsonObject(schema) && Object.keys(schema).length > 1 ? { params: schema } : {};
      return [field, { data_type: type, ...params, points: countPointsWith(db, collection, field) }];
    }),
  );
}

function countPointsWith(db: Database, collection: Collection, field: string): number {
  const params: SqlParams = {};
  const where = filterToSql({ must: [{ key: parsePath(field), is_empty: false }] }, params);
  const row = db.sql(`SELECT count(*) AS count FROM ${collection.points} AS p WHERE ${where}`).get(params);
  return Number(row?.count);
}
