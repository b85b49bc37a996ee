import * as v from 'valibot';

/** Gives a schema a name of its own: the reference shows it once, under that name, and points at it elsewhere. */
export function named<S extends v.GenericSchema<unknown, unknown>>(name: string, schema: S) {
  return v.pipe(schema, v.metadata({ ref: name, title: name }));
}

/** A time in an answer: made as a `Date`, sent as a text in ISO 8601, UTC. */
export const sentTime = v.pipe(
  v.string(),
  v.isoTimestamp(),
  v.transform((text) => new Date(text)),
);

/** An id in an answer: a UUID of version 7. */
export const sentId = v.pipe(v.string(), v.uuid());
