import * as v from 'valibot';
import { isId } from '../db/ids.ts';

export const agentName = v.pipe(
  v.string(),
  v.regex(
    /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$/,
    'must be 1–100 letters, digits, dots, dashes or underscores, the first a letter or a digit',
  ),
  v.check((given) => !isId(given), 'must not look like an id'),
);

/** What somebody looks for who does not care which agent does it. */
export const capability = v.pipe(
  v.string(),
  v.regex(
    /^[a-z0-9][a-z0-9_.:-]{0,62}$/,
    'must be 1–63 lower-case letters, digits, dots, colons, dashes or underscores',
  ),
);
