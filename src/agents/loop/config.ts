import * as v from 'valibot';
import { jsonSchema } from '../../tasks/json-schema.ts';
import { collectionName, maxCharacters, strictObject, wholeNumber } from '../../tasks/schemas.ts';
import { agentName } from '../names.ts';
import { isWithin } from './reach.ts';

const MAX_TOOLS = 20;

const tool = {
  name: v.pipe(
    v.string(),
    v.regex(/^[a-z][a-z0-9_]{0,63}$/, 'must be 1–64 lower-case letters, digits or underscores, the first a letter'),
    v.description('What the model calls it.'),
  ),
  description: v.optional(v.pipe(v.string(), maxCharacters(1_000), v.description('What the model is told of it.'))),
};

const readable = v.pipe(
  v.string(),
  maxCharacters(2_048),
  v.check(
    (url) => isWithin(url, [url]) && !/[?#]/.test(url),
    'must be an address without a query, such as https://example.com/public/',
  ),
);

/** What a model may use. Whatever it asks for, it reaches what is named here and nothing else. */
const anyTool = v.variant('type', [
  strictObject({
    type: v.literal('search'),
    ...tool,
    collection: v.pipe(collectionName, v.description('Of the user whose task it is.')),
    limit: v.optional(wholeNumber(1, 50), 5),
  }),
  strictObject({
    type: v.literal('agent'),
    ...tool,
    agent: v.pipe(agentName, v.description('The name of an agent.')),
    parameters: v.optional(v.pipe(jsonSchema, v.description('The input of that agent; a text where it is not given.'))),
  }),
  strictObject({
    type: v.literal('http_get'),
    ...tool,
    urls: v.pipe(
      v.array(readable),
      v.minLength(1, 'must name at least one'),
      v.maxLength(MAX_TOOLS, `must be at most ${MAX_TOOLS}`),
      v.description('Only what begins with one of these is called: the same host, and the path or below it.'),
    ),
  }),
]);

/** The tools of an agent. */
export const loopTools = v.pipe(
  v.array(anyTool),
  v.maxLength(MAX_TOOLS, `must be at most ${MAX_TOOLS}`),
  v.check(
    (given) => new Set(given.map(({ name }) => name)).size === given.length,
    'must not have two of the same name',
  ),
);
