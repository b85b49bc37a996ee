import * as v from 'valibot';
import { storeError } from './errors.ts';
import { idToKey } from './ids.ts';
import { isJsonObject, type JsonObject } from './json.ts';

/** A point id of a request, as the text it is stored under. */
export const PointKey = v.pipe(
  v.unknown(),
  v.transform(idToKey),
  v.string('a point id is an unsigned 64-bit integer or a UUID'),
);

/** A JSON object, kept as it is: a schema of records would drop keys such as `constructor`. */
export const ObjectShape = v.custom<JsonObject>(isJsonObject, 'expected an object');

/** A list of finite numbers. One pass in plain code, because a request carries millions of them. */
export const VectorShape = v.custom<number[]>(
  (input) => Array.isArray(input) && input.every((item) => typeof item === 'number' && Number.isFinite(item)),
  'expected a list of numbers: only single unnamed dense vectors are supported here',
);

/** Something the real server knows and this one does not: absent or null. */
export const Unsupported = (name: string) =>
  v.nullish(v.custom<never>(() => false, `${name} is not supported by the embedded vector store`));

/** Reads a body into its shape. Throws a format error that names the place. */
export function readShape<T>(shape: v.GenericSchema<unknown, T>, input: unknown): T {
  const result = v.safeParse(shape, input, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const place = v.getDotPath(issue);
  throw storeError('format', place === null ? issue.message : `${place}: ${issue.message}`);
}

/** Throws the real server's validation error for a number outside of its limits. */
export function requireAtLeast(name: string, value: number, least: number): void {
  if (value < least) {
    throw storeError('validation', `[${name}: value ${value} invalid, must be ${least} or larger]`);
  }
}
