import * as v from 'valibot';
import { isId } from '../db/ids.ts';
import { type FieldError, ProblemError } from '../errors.ts';
import { countNames, findUnstorable } from '../tasks/clean.ts';

type Schema = v.GenericSchema<unknown, unknown>;

const MAX_ERRORS = 20;

/** Issues of valibot as JSON pointers below `base`. */
export function fieldErrors(issues: readonly v.BaseIssue<unknown>[], base = '#'): FieldError[] {
  return issues.slice(0, MAX_ERRORS).map((issue) => {
    const steps = (issue.path ?? []).map(({ key }) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`);
    return { detail: detailOf(issue), pointer: base + steps.join('') };
  });
}

function detailOf(issue: v.BaseIssue<unknown>): string {
  if (issue.kind !== 'schema') return issue.message;
  if (issue.expected === 'never') return 'is not known here';
  // valibot reports a missing entry as one that is expected by its name.
  if (issue.received === 'undefined') return 'is missing';
  return issue.message.startsWith('Invalid')
    ? `must be ${issue.expected ?? 'something else'}, not ${issue.received}`
    : issue.message;
}

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
  const parsed = v.safeParse(schema, body);
  if (!parsed.success) throw invalid(fieldErrors(parsed.issues));
  return parsed.output;
}

const WRONG_QUERY = 'The query is not valid.';

/** Parses the query of a URL; a pointer names the parameter. */
export function parseQuery<S extends Schema>(schema: S, query: Record<string, string>): v.InferOutput<S> {
  const unstorable = findUnstorable(query);
  if (unstorable) throw invalid([unstorable], WRONG_QUERY);
  const parsed = v.safeParse(schema, query);
  if (!parsed.success) throw invalid(fieldErrors(parsed.issues), WRONG_QUERY);
  return parsed.output;
}

const isoTimestamp = v.pipe(v.string(), v.isoTimestamp());

/** A time in ISO 8601, as a Date; the year 0 and days that a month does not have are refused, as Postgres would. */
export const time = v.pipe(
  v.string(),
  v.check((text) => v.is(isoTimestamp, text) && isRealTime(text), 'must be a time such as 2030-01-31T12:00:00Z'),
  v.transform((text) => new Date(text)),
);

function isRealTime(text: string): boolean {
  const [year = 0, month = 0, day = 0] = text.slice(0, 10).split('-').map(Number);
  const days = new Date(Date.UTC(2000 + (year % 400), month, 0)).getUTCDate();
  return year > 0 && day <= days && !Number.isNaN(Date.parse(text));
}

/** The parameters of every list: how many, and after which id. */
export const pageQuery = {
  limit: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d{1,3}$/, 'must be a whole number from 1 to 200'),
      v.transform(Number),
      v.minValue(1, 'must be from 1 to 200'),
      v.maxValue(200, 'must be from 1 to 200'),
    ),
    '50',
  ),
  cursor: v.optional(v.pipe(v.string(), v.check(isId, 'must be the next_cursor of an earlier answer'))),
};

/** The problem for fields that are wrong; the first of them, where there are many. */
export function invalid(errors: FieldError[], detail = 'The body is not valid.'): ProblemError {
  return new ProblemError('validation_failed', detail, { errors: errors.slice(0, MAX_ERRORS) });
}
