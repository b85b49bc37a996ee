import * as v from 'valibot';
import { isId } from '../db/ids.ts';
import { type FieldError, ProblemError } from '../errors.ts';
import { countNames, findUnstorable } from '../tasks/clean.ts';
import { fieldErrors } from '../tasks/issues.ts';

export { fieldErrors } from '../tasks/issues.ts';
export { time } from '../tasks/schemas.ts';

type Schema = v.GenericSchema<unknown, unknown>;

const MAX_ERRORS = 20;

/** Reads JSON text. @throws ProblemError `bad_request` where it is not JSON, or names a field twice: of the two one would be lost */
export function parseJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ProblemError('bad_request', `The body is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  if (countNames(value) < namesIn(text))
    throw new ProblemError('bad_request', 'The body names a field twice in the same object.');
  return value;
}

const QUOTE = 34;
const COLON = 58;
const BACKSLASH = 92;
const SPACE = 32;

/** How many names of fields a JSON text holds: the strings that a colon follows. */
function namesIn(json: string): number {
  let names = 0;
  for (let at = json.indexOf('"'); at >= 0; at = json.indexOf('"', at + 1)) {
    for (at++; json.charCodeAt(at) !== QUOTE; at++) if (json.charCodeAt(at) === BACKSLASH) at++;
    let next = at + 1;
    while (json.charCodeAt(next) <= SPACE) next++;
    if (json.charCodeAt(next) === COLON) names++;
  }
  return names;
}

/** Parses a request body. @throws ProblemError `validation_failed` with a pointer for each error */
export function parseBody<S extends Schema>(schema: S, body: unknown): v.InferOutput<S> {
  const unstorable = findUnstorable(body);
  if (unstorable) throw invalid([unstorable]);
  // A schema that says nothing takes any JSON.
  if (schema.type !== 'unknown' && (typeof body !== 'object' || body === null || Array.isArray(body)))
    throw invalid([{ detail: 'must be an object', pointer: '#' }]);
  const parsed = v.safeParse(schema, body);
  if (!parsed.success) throw invalid(fieldErrors(parsed.issues));
  return parsed.output;
}

const WRONG_QUERY = 'The query is not valid.';

/** Parses the query of a URL, where no parameter may stand twice; a pointer names the parameter. */
export function parseQuery<S extends Schema>(schema: S, given: URLSearchParams): v.InferOutput<S> {
  const seen = new Set<string>();
  const twice = new Set([...given.keys()].filter((name) => seen.size === seen.add(name).size));
  if (twice.size > 0) throw invalid([...twice].map(isGivenTwice), WRONG_QUERY);
  const query = Object.fromEntries(given);
  const unstorable = findUnstorable(query);
  if (unstorable) throw invalid([unstorable], WRONG_QUERY);
  const parsed = v.safeParse(schema, query);
  if (!parsed.success) throw invalid(fieldErrors(parsed.issues), WRONG_QUERY);
  return parsed.output;
}

function isGivenTwice(name: string): FieldError {
  return {
    detail: 'is given twice; give it once, with commas between values where it takes some',
    pointer: `#/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`,
  };
}

/** The parameters of every list: how many, and after which id. */
export const pageQuery = {
  limit: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d{1,3}$/, 'must be a whole number from 1 to 200'),
      v.metadata({ type: 'integer', minimum: 1, maximum: 200, description: 'How many at most.' }),
      v.transform(Number),
      v.minValue(1, 'must be from 1 to 200'),
      v.maxValue(200, 'must be from 1 to 200'),
    ),
    '50',
  ),
  cursor: v.optional(
    v.pipe(
      v.string(),
      v.check(isId, 'must be the next_cursor of an earlier answer'),
      v.metadata({ format: 'uuid', description: 'The `next_cursor` of the page before.' }),
    ),
  ),
};

/** The problem for fields that are wrong; the first of them, where there are many. */
export function invalid(errors: FieldError[], detail = 'The body is not valid.'): ProblemError {
  return new ProblemError('validation_failed', detail, { errors: errors.slice(0, MAX_ERRORS) });
}
