import * as v from 'valibot';
import { record } from '../../tasks/schemas.ts';

const WANTS = 'must be at most 16 texts of 512 characters, under names of at most 64';

/** What a client may write to something of its own, as OpenAI bounds it. */
export const metadataSchema = v.nullish(
  v.pipe(
    record(v.pipe(v.string(), v.maxLength(64, WANTS)), v.pipe(v.string(WANTS), v.maxLength(512, WANTS))),
    v.check((given) => Object.keys(given).length <= 16, WANTS),
  ),
);
