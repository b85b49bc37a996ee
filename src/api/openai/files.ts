import * as v from 'valibot';
import type { Config } from '../../config.ts';
import type { Db } from '../../db/connect.ts';
import { deleteFile, type FileRow, findFile, listFiles, readFile } from '../../db/files.ts';
import { findKey, type KeyUse, keepAnswer, takeKey } from '../../db/idempotency.ts';
import type { SecretBox } from '../../secretbox.ts';
import { named } from '../../tasks/named.ts';
import { answers, answersText } from '../answer.ts';
import { keyRefused, replayed, withContent } from '../idempotency.ts';
import { defineRoute, type Route, type RouteAnswer } from '../route.ts';
import type { AlsoFinish } from '../shelf.ts';
import { digestForm, receiveFile } from '../upload.ts';
import { OpenAiError } from './error.ts';
import { findId, noSuch, openAiId, readId, seconds } from './ids.ts';
import { listOf, listQuery, presentList } from './lists.ts';

/** What a file may be uploaded for. Batches read files of the first; the others are kept for whoever asks for them. */
const PURPOSES = ['batch', 'user_data', 'assistants', 'fine-tune', 'vision', 'evals'] as const;

const file = named(
  'OpenAIFile',
  v.strictObject({
    id: v.string(),
    object: v.literal('file'),
    bytes: v.number(),
    created_at: v.number(),
    filename: v.string(),
    purpose: v.string(),
    status: v.literal('processed'),
  }),
);

const example: v.InferInput<typeof file> = {
  ...{ id: 'file-0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e10', object: 'file', bytes: 212, created_at: 1_893_456_000 },
  ...{ filename: 'questions.jsonl', purpose: 'batch', status: 'processed' },
};

const fields = v.strictObject({
  purpose: v.picklist(PURPOSES, `must be one of ${PURPOSES.join(', ')}`),
});

type Fields = v.InferOutput<typeof fields>;

const MAX_PAGE = 10_000;
/** A client that asks for more gets the next page by itself. */
const PAGE = 1_000;

/** The files of a user. */
export function fileRoutes({ db, config, box }: { db: Db; config: Config; box: SecretBox }): Route[] {
  const { files } = config;

  async function read(userId: string, given: string | undefined): Promise<FileRow> {
    const found = await findFile(db, userId, readId('file', given));
    if (!found) throw noSuch('file');
    return found;
  }

  const answerOf = (row: FileRow): RouteAnswer => ({ status: 200, body: presentFile(row) });

  /** Keeps the answer under a key, together with the file. */
  function keeping(given: KeyUse): AlsoFinish {
    return async (trx, row, digest) => {
      const key = withContent(given, digest);
      const { is } = await takeKey(trx, key);
      // Where the same came twice at once, the first one is there by now.
      if (is !== 'mine') throw keyRefused(is === 'reused' ? is : 'in_use');
      await keepAnswer(trx, key, box.seal(JSON.stringify(answerOf(row))));
    };
  }

  /** The answer of the first request with a key that is taken. */
  async function repeat(key: KeyUse): Promise<RouteAnswer> {
    const first = await findKey(db, key);
    if (first?.is !== 'answered') throw keyRefused(first?.is ?? 'in_use');
    return replayed(JSON.parse(box.open(first.answer)) as RouteAnswer);
  }

  return [
    defineRoute({
      method: 'POST',
      path: '/v1/files',
      summary: 'Upload a file',
      upload: fields,
      idempotent: 'commit',
      answers: { 200: answers('The file.', file, example, ['Idempotency-Replayed']) },
      handle: async ({ form, principal, key }) => {
        if (key && (await findKey(db, key))) return repeat(withContent(key, await digestForm(files, form!, fields)));
        const given = [form!, principal.userId, fields, ({ purpose }: Fields) => purpose] as const;
        const received = await receiveFile({ db, files }, ...given, key && keeping(key));
        return answerOf(received.file);
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/v1/files',
      summary: 'The files of yours',
      query: v.strictObject({
        ...listQuery('file', PAGE, MAX_PAGE),
        order: v.optional(v.picklist(['asc', 'desc'], 'must be asc or desc'), 'desc'),
        purpose: v.optional(v.pipe(v.string(), v.maxLength(40))),
      }),
      problems: ['not_found'],
      answers: {
        200: answers('A page of files.', listOf(file), presentList([example], 1)),
      },
      handle: async ({ query, principal }) => {
        const after = query.after === undefined ? undefined : findId('file', query.after);
        if (query.after !== undefined && after === undefined) throw noSuch('file');
        const { order, purpose } = query;
        const limit = Math.min(query.limit, PAGE);
        const rows = await listFiles(db, principal.userId, { limit, order, after, purpose });
        return { status: 200, body: presentList(rows.map(presentFile), limit) };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/v1/files/:file',
      summary: 'What is known of a file',
      answers: { 200: answers('The file.', file, example) },
      handle: async ({ params, principal }) => ({
        status: 200,
        body: presentFile(await read(principal.userId, params.file)),
      }),
    }),
    defineRoute({
      method: 'GET',
      path: '/v1/files/:file/content',
      summary: 'What is in a file',
      answers: { 200: answersText('The bytes.', 'application/octet-stream', '{"custom_id":"1"}\n') },
      handle: async ({ params, principal }) => {
        const { id, bytes } = await read(principal.userId, params.file);
        return {
          status: 200,
          stream: ReadableStream.from(readFile(db, id)) as ReadableStream<Uint8Array>,
          // Whatever somebody uploaded must not run in a browser as a page of ours.
          headers: {
            'Content-Type': 'application/octet-stream',
            'Content-Disposition': 'attachment',
            'Content-Length': String(bytes),
          },
        };
      },
    }),
    defineRoute({
      method: 'DELETE',
      path: '/v1/files/:file',
      summary: 'Delete a file',
      errors: [409],
      answers: {
        200: answers(
          'It is gone.',
          v.strictObject({ id: v.string(), object: v.literal('file'), deleted: v.literal(true) }),
          { id: example.id, object: 'file', deleted: true },
        ),
      },
      handle: async ({ params, principal }) => {
        const id = readId('file', params.file);
        const outcome = await deleteFile(db, principal.userId, id);
        if (outcome === 'gone') throw noSuch('file');
        if (outcome === 'in use')
          throw new OpenAiError(409, 'file_in_use', 'A batch that has not ended reads this file. Cancel it first.');
        return { status: 200, body: { id: openAiId('file', id), object: 'file', deleted: true } };
      },
    }),
  ];
}

function presentFile({ id, bytes, created_at, filename, purpose }: FileRow): v.InferOutput<typeof file> {
  return {
    ...{ id: openAiId('file', id), object: 'file', bytes, created_at: seconds(created_at) },
    ...{ filename: filename || 'file', purpose, status: 'processed' },
  };
}
