import * as v from 'valibot';
import { ExpressionError, replaceExpressions } from '../expressions/index.ts';
import { headerName } from '../tasks/http-request.ts';
import { jsonObject, maxCharacters, record, strictObject, wholeNumber } from '../tasks/schemas.ts';

const MAX_TEXT = 8_192;

const WANTS_PATH = 'must be a path that begins with /';
/** A path below the endpoint. */
export const path = v.pipe(v.string(), maxCharacters(1024), v.check(isPath, WANTS_PATH));
/** One that may hold expressions. */
export const pathTemplate = v.pipe(v.string(), maxCharacters(1024), v.check(isPathTemplate, WANTS_PATH));

function isPathTemplate(given: string): boolean {
  try {
    return isPath(replaceExpressions(given, () => 'x'));
  } catch (error) {
    // Whoever reads the expressions says what is wrong with them.
    if (error instanceof ExpressionError) return true;
    throw error;
  }
}

function isPath(given: string): boolean {
  const parts = (given.split('?')[0] as string).split('/');
  return /^\/[^\s#\\]*$/.test(given) && !parts.some((part) => /^(\.|%2e){1,2}$/i.test(part));
}

/** A text that may hold expressions in `${{ … }}`. */
export const template = v.pipe(v.string(), maxCharacters(MAX_TEXT));
/** An expression by itself. */
export const expression = v.pipe(v.string(), v.minLength(1, 'must not be empty'), maxCharacters(4_096));

const MAX_FIELDS = 50;
export const few = v.check(
  (given: Record<string, string>) => Object.keys(given).length <= MAX_FIELDS,
  `must be at most ${MAX_FIELDS}`,
);
export const headers = v.pipe(
  jsonObject,
  record(headerName, template),
  few,
  v.check((given) => !('sutazai-callback' in lower(given)), 'must not name the header Sutazai-Callback'),
  v.check((given) => Object.keys(lower(given)).length === Object.keys(given).length, 'must not name a header twice'),
  v.description('Sent with every call; the values may hold `${{ secrets.… }}`.'),
);

function lower(given: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(given).map(([name, value]) => [name.toLowerCase(), value]));
}

/** What may be said of an agent of any type. */
export const common = {
  timeout_seconds: v.optional(
    v.pipe(wholeNumber(1, 3_600), v.description('How long one call may take; the time-out of the task holds as well.')),
    60,
  ),
  max_concurrency: v.optional(
    v.pipe(wholeNumber(1, 1_000), v.description('Calls at a time, over all workers; no limit where it is not given.')),
  ),
  rate_per_minute: v.optional(
    v.pipe(
      wholeNumber(1, 100_000),
      v.description('Calls in a minute, over all workers; no limit where it is not given.'),
    ),
  ),
  retries: v.optional(
    v.pipe(
      v.union([v.boolean(), v.literal('idempotent')], 'must be true, false or "idempotent"'),
      v.description(
        'Whether a call that failed is made again: `idempotent` where its method may be repeated, true always, because the agent heeds `Idempotency-Key`, false never.',
      ),
    ),
    'idempotent',
  ),
  max_response_bytes: v.optional(
    v.pipe(wholeNumber(1, 10_485_760), v.description('The largest answer that is taken.')),
    1_048_576,
  ),
  health: v.optional(
    strictObject({
      path: v.optional(v.pipe(path, v.description('What is asked; what fits the type where it is not given.'))),
      method: v.optional(v.picklist(['GET', 'HEAD'], 'must be GET or HEAD'), 'GET'),
      interval_seconds: v.optional(v.pipe(wholeNumber(1, 86_400), v.description('How often it is asked.')), 30),
    }),
    {},
  ),
};
