import * as v from 'valibot';
import { FilterShape, PathShape } from './filter-shape.ts';
import { isJsonObject, type JsonObject } from './json.ts';
import type { PayloadSelection } from './payload-edit.ts';
import { ObjectShape, PointKey, Unsupported, VectorShape } from './shape-parts.ts';

const PointShape = v.object({ id: PointKey, vector: VectorShape, payload: v.nullish(ObjectShape) });
export type NewPoint = v.InferOutput<typeof PointShape>;

const BatchShape = v.pipe(
  v.object({
    ids: v.array(PointKey),
    vectors: v.array(VectorShape),
    payloads: v.nullish(v.array(v.nullable(ObjectShape))),
  }),
  v.check(
    ({ ids, vectors, payloads }) => vectors.length === ids.length && (payloads?.length ?? ids.length) === ids.length,
    'ids, vectors and payloads of a batch must be of the same length',
  ),
  v.transform(({ ids, vectors, payloads }): NewPoint[] =>
    ids.map((id, at) => ({ id, vector: vectors[at] ?? [], payload: payloads?.[at] })),
  ),
);

const unsupportedInUpsert = {
  shard_key: Unsupported('shard_key'),
  update_filter: Unsupported('update_filter'),
  update_mode: Unsupported('update_mode'),
};

/** What `PUT /collections/{name}/points` takes: a list of points, or a batch of columns. */
export const UpsertPoints: v.GenericSchema<unknown, NewPoint[]> = v.lazy((input) =>
  isJsonObject(input) && 'batch' in input
    ? v.pipe(
        v.object({ batch: BatchShape, ...unsupportedInUpsert }),
        v.transform(({ batch }) => batch),
      )
    : v.pipe(
        v.object({ points: v.array(PointShape), ...unsupportedInUpsert }),
        v.transform(({ points }) => points),
      ),
);

/** Which points a change is about. A list of ids wins over a filter, as on the real server. */
const selection = { points: v.nullish(v.array(PointKey)), filter: v.nullish(FilterShape) };
export type PointSelection = v.InferOutput<v.ObjectSchema<typeof selection, undefined>>;
const isSelective = ({ points, filter }: PointSelection) => Array.isArray(points) || isJsonObject(filter);
const NEEDS_SELECTION = 'either a list of points or a filter must be given';
const shard_key = Unsupported('shard_key');

/** What `POST .../points/delete` and `.../points/payload/clear` take. */
export const SelectPoints = v.pipe(
  v.strictObject({ ...selection, shard_key }),
  v.check((input) => isSelective(input), NEEDS_SELECTION),
);

/** What `POST` and `PUT .../points/payload` take. */
export const SetPayload = v.pipe(
  v.object({ payload: ObjectShape, key: v.nullish(PathShape), ...selection, shard_key }),
  v.check((input) => isSelective(input), NEEDS_SELECTION),
);

/** What `POST .../points/payload/delete` takes. */
export const DeletePayload = v.pipe(
  v.object({ keys: v.array(PathShape), ...selection, shard_key }),
  v.check((input) => isSelective(input), NEEDS_SELECTION),
);

const Paths = v.array(PathShape);
const WithPayload: v.GenericSchema<unknown, PayloadSelection> = v.lazy((input) => {
  if (typeof input === 'boolean') return v.boolean();
  if (Array.isArray(input)) {
    return v.pipe(
      Paths,
      v.transform((include) => ({ include })),
    );
  }
  if (isJsonObject(input) && 'exclude' in input) return v.strictObject({ exclude: Paths });
  return v.strictObject({ include: Paths }, 'expected true, false, a list of keys, {include} or {exclude}');
});
const WithVector = v.union([
  v.boolean(),
  // The one vector has no name, so a list of names asks for it only by the empty one.
  v.pipe(
    v.array(v.string()),
    v.transform((names) => names.includes('')),
  ),
]);

const answer = { with_payload: v.nullish(WithPayload), with_vector: v.nullish(WithVector), shard_key };

/** What `POST .../points` takes. */
export const RetrievePoints = v.object({ ids: v.array(PointKey), ...answer });

const Limit = v.pipe(v.number(), v.integer(), v.minValue(0));

/** What `POST .../points/scroll` takes. */
export const ScrollPoints = v.object({
  offset: v.nullish(PointKey),
  limit: v.nullish(Limit, 10),
  filter: v.nullish(FilterShape),
  order_by: Unsupported('order_by'),
  ...answer,
});

/** What `POST .../points/count` takes. Counts are always exact. */
export const CountPoints = v.object({ filter: v.nullish(FilterShape), shard_key });

/** What to look for: near a vector, near a stored point, or (undefined) just the points by id. */
export type Nearest = { vector: number[] } | { point: string } | undefined;

const ONLY_NEAREST =
  'the embedded vector store answers nearest-neighbour queries only: a vector, a point id or {nearest}';
const VectorOrPoint: v.GenericSchema<unknown, Nearest> = v.lazy((input) =>
  Array.isArray(input)
    ? v.pipe(
        VectorShape,
        v.transform((vector) => ({ vector })),
      )
    : v.pipe(
        PointKey,
        v.transform((point) => ({ point })),
      ),
);
const QueryInput: v.GenericSchema<unknown, Nearest> = v.lazy((input) => {
  if (!isJsonObject(input)) return VectorOrPoint;
  if (!('nearest' in input)) return v.custom<Nearest>(() => false, ONLY_NEAREST);
  return v.pipe(
    v.object({ nearest: VectorOrPoint, mmr: Unsupported('mmr') }),
    v.transform(({ nearest }) => nearest),
  );
});

/** What `POST .../points/query` takes. `params` tune an approximate index, and the search here is exact. */
export const QueryPoints = v.object({
  query: v.nullish(QueryInput),
  using: v.nullish(v.string()),
  filter: v.nullish(FilterShape),
  score_threshold: v.nullish(v.number()),
  limit: v.nullish(Limit, 10),
  offset: v.nullish(Limit, 0),
  prefetch: v.nullish(
    v.pipe(v.array(v.unknown()), v.maxLength(0, 'prefetch is not supported by the embedded vector store')),
  ),
  lookup_from: Unsupported('lookup_from'),
  ...answer,
});
export type Query = v.InferOutput<typeof QueryPoints>;

/** What `POST .../points/query/batch` takes. */
export const QueryBatch = v.object({ searches: v.array(QueryPoints) });

/** What is shown of a point. */
export type Answer = { with_payload: PayloadSelection; with_vector: boolean };

/** The choices of a request, over the defaults of its route. */
export function answerOf(
  given: { with_payload?: PayloadSelection | null; with_vector?: boolean | null },
  payloadByDefault: boolean,
): Answer {
  return { with_payload: given.with_payload ?? payloadByDefault, with_vector: given.with_vector ?? false };
}

/** The payload to store: none is an empty object. */
export function payloadOf(point: NewPoint): JsonObject {
  return point.payload ?? {};
}
