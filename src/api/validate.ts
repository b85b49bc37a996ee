import * as v from 'valibot';
import { type FieldError, ProblemError } from '../errors.ts';
import { findUnstorable } from '../tasks/clean.ts';

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

/** Parses a request body. @throws ProblemError `validation_failed` with a pointer for each error */
export function parseBody<S extends Schema>(schema: S, body: unknown): v.InferOutput<S> {
  const unstorable = findUnstorable(body);
  if (unstorable) throw invalid([unstorable]);
  const parsed = v.safeParse(schema, body);
  if (!parsed.success) throw invalid(fieldErrors(parsed.issues));
  return parsed.output;
}

/** Parses the query of a URL; a pointer names the parameter. */
export function parseQuery<S extends Schema>(schema: S, query: Record<string, string>): v.InferOutput<S> {
  const parsed = v.safeParse(schema, query);
  if (!parsed.success) throw invalid(fieldErrors(parsed.issues), 'The query is not valid.');
  return parsed.output;
}

/** The problem for fields that are wrong. */
export function invalid(errors: FieldError[], detail = 'The body is not valid.'): ProblemError {
  return new ProblemError('validation_failed', detail, { errors });
}
