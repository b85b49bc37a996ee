import * as v from 'valibot';

/** The parameters of lists in OpenAI's API. */
export function listQuery(kind: string, usual: number, max: number) {
  const wants = `must be from 1 to ${max}`;
  return {
    limit: v.optional(
      v.pipe(
        v.string(),
        v.regex(/^\d{1,6}$/, wants),
        v.metadata({ type: 'integer', minimum: 1, maximum: max, description: 'How many at most.' }),
        v.transform(Number),
        v.minValue(1, wants),
        v.maxValue(max, wants),
      ),
      String(usual),
    ),
    after: v.optional(
      v.pipe(v.string(), v.maxLength(100), v.description(`The id of the last ${kind} of the page before.`)),
    ),
  };
}

/** A list as OpenAI's clients page through it. */
export function listOf<S extends v.GenericSchema<unknown, unknown>>(item: S) {
  return v.strictObject({
    object: v.literal('list'),
    data: v.array(item),
    first_id: v.nullable(v.string()),
    last_id: v.nullable(v.string()),
    has_more: v.boolean(),
  });
}

/** A page of rows of which one more than `limit` was read. */
export function presentList<T extends { id: string }>(rows: T[], limit: number) {
  const data = rows.slice(0, limit);
  const [first, last] = [data[0]?.id ?? null, data.at(-1)?.id ?? null];
  return { object: 'list' as const, data, first_id: first, last_id: last, has_more: rows.length > limit };
}
