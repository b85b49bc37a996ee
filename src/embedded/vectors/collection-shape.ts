import * as v from 'valibot';
import { storeError } from './errors.ts';
import { PathShape } from './filter-shape.ts';
import { isJsonObject, type JsonObject } from './json.ts';
import { ObjectShape, requireAtLeast, Unsupported } from './shape-parts.ts';

export const DISTANCES = ['Cosine', 'Dot', 'Euclid', 'Manhattan'] as const;
export type Distance = (typeof DISTANCES)[number];

const FORBIDDEN_IN_NAMES = '<>:"/\\|?*\0\u001f';
const MAX_SIZE = 65_536;
const FIELD_TYPES = ['keyword', 'integer', 'float', 'geo', 'text', 'bool', 'datetime', 'uuid'] as const;

const VectorsShape = v.pipe(
  v.unknown(),
  v.check(
    (input) => isJsonObject(input) && ('size' in input || 'distance' in input),
    'the embedded vector store needs "vectors": {size, distance}; named vectors and collections without vectors are not supported',
  ),
  v.object({
    size: v.pipe(v.number(), v.integer()),
    distance: v.picklist(DISTANCES),
    multivector_config: Unsupported('multivector_config'),
    datatype: v.nullish(v.literal('float32', 'only the datatype float32 is supported by the embedded vector store')),
    on_disk: v.nullish(v.boolean()),
  }),
);

/** What `PUT /collections/{name}` takes. Settings about indexing and replicas are kept and reported, not acted on. */
export const CreateCollection = v.object({
  vectors: VectorsShape,
  sparse_vectors: v.nullish(
    v.custom<JsonObject>(
      (input) => isJsonObject(input) && Object.keys(input).length === 0,
      'sparse vectors are not supported by the embedded vector store',
    ),
  ),
  sharding_method: v.nullish(
    v.literal('auto', 'only the sharding method auto is supported by the embedded vector store'),
  ),
  on_disk_payload: v.nullish(v.boolean()),
  hnsw_config: v.nullish(ObjectShape),
  optimizers_config: v.nullish(ObjectShape),
  wal_config: v.nullish(ObjectShape),
  quantization_config: v.nullish(ObjectShape),
  metadata: v.nullish(ObjectShape),
});

/** What `PATCH /collections/{name}` takes. */
export const UpdateCollection = v.object({
  params: v.nullish(ObjectShape),
  hnsw_config: v.nullish(ObjectShape),
  optimizers_config: v.nullish(ObjectShape),
  quantization_config: v.nullish(ObjectShape),
  metadata: v.nullish(ObjectShape),
});

/** What `PUT /collections/{name}/index` takes. */
export const CreateIndex = v.object({
  field_name: v.pipe(
    v.string(),
    v.check((name) => v.is(PathShape, name)),
  ),
  field_schema: v.union(
    [v.picklist(FIELD_TYPES), v.looseObject({ type: v.picklist(FIELD_TYPES) })],
    `expected one of ${FIELD_TYPES.join(', ')}, or an object with such a type`,
  ),
});

/** Throws the real server's validation errors for a name or a size it would not take. */
export function checkNewCollection(name: string, size: number): void {
  if (name.length > 255 || [...name].some((letter) => FORBIDDEN_IN_NAMES.includes(letter))) {
    throw storeError(
      'validation',
      `[collection_name: value "${name}" invalid, it is too long or has a forbidden letter]`,
    );
  }
  requireAtLeast('vectors.size', size, 1);
  if (size > MAX_SIZE) {
    throw storeError('validation', `[vectors.size: value ${size} invalid, must be from 1 to ${MAX_SIZE}]`);
  }
}

/** The configuration as a client reads it: what was given over the real server's defaults. */
export function initialConfig(given: v.InferOutput<typeof CreateCollection>): JsonObject {
  const { size, distance, on_disk } = given.vectors;
  return {
    params: {
      vectors: { size, distance, ...(on_disk === undefined || on_disk === null ? {} : { on_disk }) },
      shard_number: 1,
      replication_factor: 1,
      write_consistency_factor: 1,
      on_disk_payload: given.on_disk_payload ?? true,
    },
    hnsw_config: overlay(
      { m: 16, ef_construct: 100, full_scan_threshold: 10_000, max_indexing_threads: 0, on_disk: false },
      given.hnsw_config,
    ),
    optimizer_config: overlay(
      {
        deleted_threshold: 0.2,
        vacuum_min_vector_number: 1000,
        default_segment_number: 0,
        max_segment_size: null,
        memmap_threshold: null,
        indexing_threshold: 10_000,
        flush_interval_sec: 5,
        max_optimization_threads: null,
      },
      given.optimizers_config,
    ),
    wal_config: overlay({ wal_capacity_mb: 32, wal_segments_ahead: 0, wal_retain_closed: 1 }, given.wal_config),
    quantization_config: given.quantization_config ?? null,
    ...(given.metadata ? { metadata: given.metadata } : {}),
  };
}

/** The configuration with an update laid over it, section by section. */
export function updatedConfig(config: JsonObject, update: v.InferOutput<typeof UpdateCollection>): JsonObject {
  const sections = {
    params: update.params,
    hnsw_config: update.hnsw_config,
    optimizer_config: update.optimizers_config,
    quantization_config: update.quantization_config,
    metadata: update.metadata,
  };
  const changed = Object.entries(sections).filter(([, section]) => section !== undefined && section !== null);
  return { ...config, ...Object.fromEntries(changed.map(([name, section]) => [name, overlay(config[name], section)])) };
}

function overlay(base: unknown, given: JsonObject | null | undefined): JsonObject {
  return { ...(isJsonObject(base) ? base : {}), ...given };
}
