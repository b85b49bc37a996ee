import * as v from 'valibot';
import type { Status } from '../db/schema.ts';
import { maxCharacters, modelName, strictObject, time } from './schemas.ts';

/** The public words for where a task stands; whoever adds one adds it here. */
const STATUS = {
  ...{ scheduled: 0, pending: 0, running: 0, cancelling: 0 },
  ...{ completed: 0, failed: 0, cancelled: 0, expired: 0 },
} satisfies Record<Status, 0>;

const WORDS = Object.keys(STATUS) as Status[];

const MAX_WORDS = 10;
const id = v.optional(v.pipe(v.string(), v.uuid('must be a UUID')));

/** What tasks can be chosen by, in lists and for what is done to many: the names in a query, and those in a body. */
export const taskFilter = {
  status: v.optional(
    v.pipe(
      v.string(),
      v.description(`Some of ${WORDS.join(', ')}, separated by commas.`),
      v.transform((all) => all.split(',')),
      v.array(v.picklist(WORDS, `must be some of ${WORDS.join(', ')}, separated by commas`)),
    ),
  ),
  type: v.optional(
    v.pipe(
      v.string(),
      v.description('Task types, separated by commas.'),
      v.transform((all) => all.split(',')),
    ),
  ),
  tag: v.optional(v.string()),
  model: v.optional(modelName),
  agent_id: id,
  batch_id: id,
  parent_id: id,
  schedule_id: id,
  error_code: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^[a-z_]{1,40}$/, 'must be the code of an error of a task, such as poison'),
      v.description('The code of the error that the task has; `status=failed&error_code=poison` are dead letters.'),
    ),
  ),
  q: v.optional(
    v.pipe(
      v.string(),
      maxCharacters(200),
      v.regex(/[\p{L}\p{N}]/u, 'must hold a word'),
      v.check((text) => text.split(/[^\p{L}\p{N}]+/u).length <= MAX_WORDS, `must be at most ${MAX_WORDS} words`),
      v.description(
        'Words of title and tags, all of them, whatever their case; of the last one the beginning is enough.',
      ),
    ),
  ),
  created_after: v.optional(time),
  created_before: v.optional(time),
};

const whole = strictObject(taskFilter);

/** A filter as it was checked; every part that is there has to hold. */
export type TaskFilter = v.InferOutput<typeof whole>;
