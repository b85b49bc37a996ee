import * as v from 'valibot';
import { findUnstorable } from '../../tasks/clean.ts';
import { contentFields, documentFields } from '../../tasks/document-ingest.ts';
import { invalid, parseJson } from '../validate.ts';

/** A document whose content is in the body, or at an address that it names. */
export const body = v.pipe(
  v.strictObject({ ...contentFields, ...documentFields }),
  v.check(({ text, url }) => (text === undefined) !== (url === undefined), 'must have either text or url'),
);

/** What stands beside the file in a form, where everything is a text. */
export const fields = v.strictObject({
  title: documentFields.title,
  content_type: contentFields.content_type,
  metadata: v.optional(
    v.pipe(v.string(), v.description('A JSON object, as text.'), v.metadata({ contentMediaType: 'application/json' })),
  ),
  chunk_tokens: v.optional(v.pipe(v.string(), v.regex(/^\d{1,5}$/, 'must be a whole number'))),
  overlap_tokens: v.optional(v.pipe(v.string(), v.regex(/^\d{1,5}$/, 'must be a whole number'))),
});

const { content_type: _, ...rawFields } = fields.entries;

/** What is said of a file that is the body itself. */
export const query = v.strictObject({
  ...rawFields,
  filename: v.optional(v.pipe(v.string(), v.maxLength(255), v.description('What it is called, where it is the body.'))),
});
/** The types of a file that is the body itself. */
export const RAW = ['text/plain', 'text/markdown', 'text/html', 'application/pdf'];

/** What is said of a file in the query stands in the body where there is one. */
export function refuseQuery(given: object): void {
  const errors = Object.keys(given).map((name) => ({ pointer: `#/${name}`, detail: 'stands in the body' }));
  if (errors.length > 0) throw invalid(errors, 'The query is not valid.');
}

/** The fields of a form as those of the task. */
export function readFields({ metadata, chunk_tokens, overlap_tokens, ...rest }: v.InferOutput<typeof fields>) {
  return {
    ...rest,
    ...(metadata === undefined ? {} : { metadata: readMetadata(metadata) }),
    ...(chunk_tokens === undefined ? {} : { chunk_tokens: Number(chunk_tokens) }),
    ...(overlap_tokens === undefined ? {} : { overlap_tokens: Number(overlap_tokens) }),
  };
}

function readMetadata(text: string): unknown {
  let metadata: unknown;
  try {
    metadata = parseJson(text);
  } catch {
    throw invalid([{ pointer: '#/metadata', detail: 'must be a JSON object, as text' }]);
  }
  const unstorable = findUnstorable(metadata);
  if (unstorable) throw invalid([{ ...unstorable, pointer: unstorable.pointer.replace('#', '#/metadata') }]);
  return metadata;
}
