import * as v from 'valibot';
import { wholeNumber } from '../../tasks/schemas.ts';
import { MAX_TOKENS } from '../../tasks/text-schemas.ts';

/** A field of OpenAI's that cannot be done: whoever sends it is told so, instead of being answered as if it were not there. */
export const unsupported = v.optional(v.null('is not supported here'));
export const number = v.nullish(v.number());
export const text = v.pipe(v.string(), v.minLength(1, 'must not be empty'));
/** The task would refuse too many as well, but not know the name by which they came. */
export const tokens = v.nullish(wholeNumber(1, MAX_TOKENS));
/** An image in the request itself. */
export const imageUrl = v.pipe(
  v.string(),
  v.regex(
    /^data:image\/[\w.+-]+;base64,/i,
    'must be a data: URL with an image in base64; remote images are not fetched',
  ),
);
/** What is in such a URL. */
export const imageData = (url: string) => url.slice(url.indexOf(',') + 1);
