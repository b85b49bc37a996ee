import * as v from 'valibot';
import { defineTask } from './define.ts';
import { collectionName, jsonObject, maxCharacters, strictObject, wholeNumber } from './schemas.ts';

/** Names of the payload of a chunk that say which part of which document it is. */
const RESERVED = ['document_id', 'chunk', 'heading', 'title', 'source'];
const MIN_TOKENS = 32;
const MAX_TOKENS = 2_000;

/** What may be said of a document wherever its content comes from. */
export const documentFields = {
  title: v.optional(v.pipe(v.string(), v.trim(), v.minLength(1, 'must not be empty'), maxCharacters(500))),
  metadata: v.optional(
    v.pipe(
      jsonObject,
      v.check(
        (given) => !RESERVED.some((name) => Object.hasOwn(given, name)),
        `must not have the names ${RESERVED.join(', ')}, which are said of every chunk`,
      ),
    ),
  ),
  chunk_tokens: v.optional(
    v.pipe(
      wholeNumber(MIN_TOKENS, MAX_TOKENS),
      v.description('The most tokens of a chunk, as GPT-2 counts them; 200 where it is not given.'),
    ),
  ),
  overlap_tokens: v.optional(
    v.pipe(
      wholeNumber(0, 500),
      v.description(
        'So many tokens of a chunk at most, in whole sentences, are said again in the next; 30 usually, and never more than half of one.',
      ),
    ),
  ),
};

/** Where its content is: in the request, or at an address. */
export const contentFields = {
  text: v.optional(v.pipe(v.string(), v.regex(/\S/, 'must not be empty'))),
  url: v.optional(v.pipe(v.string(), maxCharacters(2048))),
  content_type: v.optional(
    v.pipe(
      v.string(),
      maxCharacters(100),
      v.regex(/^[\w.+-]+\/[\w.+-]+/, 'must be a content type, such as text/markdown'),
    ),
  ),
};

const DEFAULT_TOKENS = 200;
const DEFAULT_OVERLAP = 30;

export const documentIngest = defineTask({
  name: 'document.ingest',
  title: 'Ingest a document',
  summary: 'Reads text, Markdown, HTML, PDF or JSON, cuts it into chunks, and stores them embedded in a collection.',
  lane: 'vector',
  input: v.pipe(
    strictObject({
      collection: collectionName,
      ...contentFields,
      file_id: v.optional(
        v.pipe(
          v.string(),
          v.regex(/^(?:file-)?[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i, 'must be the id of a file'),
          v.description('As `POST /v1/files` gives it, or without `file-` before it.'),
        ),
      ),
      ...documentFields,
    }),
    v.check(
      ({ text, url, file_id }) => [text, url, file_id].filter((one) => one !== undefined).length === 1,
      'must have one of text, url and file_id',
    ),
  ),
  output: v.strictObject({
    document_id: v.string(),
    collection: v.string(),
    title: v.nullable(v.string()),
    content_type: v.string(),
    chunks: v.pipe(v.number(), v.integer(), v.minValue(0)),
    outcome: v.pipe(
      v.picklist(['stored', 'replaced', 'unchanged', 'outdone']),
      v.description(
        '`unchanged` where the same content was there; `outdone` where a newer content of the same name was ingested meanwhile.',
      ),
    ),
  }),
  urls: ['url'],
  defaults: { attempts: 5, timeoutSeconds: 3_600, backoff: { minMs: 1_000, maxMs: 60_000 } },
  examples: [
    {
      collection: 'manuals',
      title: 'The kettle',
      text: '# The kettle\n\nFill it with water.\n\n## Descaling\n\nOnce a month, boil water with vinegar in it.',
      content_type: 'text/markdown',
      metadata: { room: 'kitchen' },
    },
    { collection: 'manuals', url: 'https://example.com/' },
  ],
  run: ({ chunk_tokens = DEFAULT_TOKENS, overlap_tokens = DEFAULT_OVERLAP, file_id, ...input }, tools) =>
    tools.documents.ingest({
      ...input,
      ...(file_id === undefined ? {} : { file_id: file_id.replace(/^file-/, '') }),
      chunk_tokens,
      overlap_tokens,
    }),
});
