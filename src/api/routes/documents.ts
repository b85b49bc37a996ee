import * as v from 'valibot';
import type { VectorClient } from '../../clients/qdrant.ts';
import type { Config } from '../../config.ts';
import { insertAudit } from '../../db/audit.ts';
import { type CollectionRow, findCollection } from '../../db/collections.ts';
import type { Db } from '../../db/connect.ts';
import { findDocument, hideDocument, listDocuments } from '../../db/documents.ts';
import { DOCUMENT_PURPOSE, deleteFile } from '../../db/files.ts';
import { isId } from '../../db/ids.ts';
import { findTask } from '../../db/tasks/read.ts';
import { clearDocuments } from '../../documents/clear.ts';
import { ProblemError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { contentFields, documentFields, documentIngest } from '../../tasks/document-ingest.ts';
import { presentTask } from '../../tasks/present.ts';
import { requireStore } from '../../vectors/points.ts';
import { answers, answersNothing, pageOf } from '../answer.ts';
import { noSuchCollection } from '../collections.ts';
import { replayed, withContent } from '../idempotency.ts';
import { beyondKey, keyRefusals, usualPriority } from '../key-limits.ts';
import type { Form } from '../request.ts';
import { defineRoute, offWhen, type Principal, type Route, type RouteAnswer, type RouteInput } from '../route.ts';
import { documentExample, presentDocument, document as shape } from '../shapes/document.ts';
import { pendingExample, task as taskShape } from '../shapes/task.ts';
import type { StoreTasks } from '../store.ts';
import { type PrepareContext, prepareTask } from '../submit.ts';
import { receiveBody, receiveFile } from '../upload.ts';
import { invalid, pageQuery, parseJson } from '../validate.ts';
import { VECTORS_OFF } from './collections.ts';
import { retryAfter } from './task-access.ts';

interface Options extends PrepareContext {
  db: Db;
  store: StoreTasks;
  vectors: VectorClient | undefined;
  files: Config['files'];
  log: Logger;
}

/** How long a request that deletes waits for the vector store; what it does not do then is done later. */
const CLEAR_MS = 3_000;

const body = v.pipe(
  v.strictObject({ ...contentFields, ...documentFields }),
  v.check(({ text, url }) => (text === undefined) !== (url === undefined), 'must have either text or url'),
);

/** What stands beside the file in a form, where everything is a text. */
const fields = v.strictObject({
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
const query = v.strictObject({
  ...rawFields,
  filename: v.optional(v.pipe(v.string(), v.maxLength(255), v.description('What it is called, where it is the body.'))),
});
const RAW = ['text/plain', 'text/markdown', 'text/html', 'application/pdf'];

/** Documents in collections of the one who asks. */
export function documentRoutes({ db, store, vectors, files, log, ...context }: Options): Route[] {
  async function read({ userId }: Principal, name = ''): Promise<CollectionRow> {
    const row = await findCollection(db, userId, name);
    if (!row) throw noSuchCollection();
    return row;
  }

  /** Makes the task; `pointer` is where its input stands in what was sent. */
  async function submit(
    input: Record<string, unknown>,
    { principal, requestId, base, key }: Pick<RouteInput<unknown, unknown>, 'principal' | 'requestId' | 'base' | 'key'>,
  ): Promise<RouteAnswer> {
    const given = { type: documentIngest.name, input, metadata: {}, tags: [] };
    const whose = { userId: principal.userId, requestId, batchId: null, watched: false, pointer: '#' };
    const made = prepareTask(given, { ...whose, usualPriority: usualPriority(principal) }, context);
    // What the caller sent is the input itself.
    if ('errors' in made)
      throw invalid(made.errors.map((one) => ({ ...one, pointer: one.pointer.replace('#/input', '#') })));
    const { rows, again } = await store([made], key);
    // The file of a repetition is another one, with the same content.
    const first = again && 'file_id' in input ? await findTask(db, principal, rows[0]!.id) : undefined;
    const task = { ...rows[0]!, ...(first && { input: first.input }) };
    const answer = {
      status: 202,
      body: presentTask(task, base),
      headers: { Location: `${base}/api/v1/tasks/${task.id}`, ...retryAfter(task) },
    };
    return again ? replayed(answer) : answer;
  }

  async function receiveRaw(form: Form, userId: string, { filename = '', ...said }: v.InferOutput<typeof query>) {
    const received = await receiveBody({ db, files }, form, userId, { filename, purpose: DOCUMENT_PURPOSE });
    return { ...received, fields: said };
  }

  function refuseToSubmit(principal: Principal): void {
    if (!principal.can('tasks:create'))
      throw new ProblemError('forbidden', 'A document is ingested by a task, which wants the permission tasks:create.');
    if (keyRefusals({ type: documentIngest.name }, principal, '#').length > 0) throw beyondKey();
  }

  const routes = [
    defineRoute({
      method: 'POST',
      path: '/api/v1/collections/:name/documents',
      summary: 'Ingest a document: a text, a URL, or a file, in a form or as the body',
      body,
      upload: fields,
      raw: RAW,
      query,
      example: { title: 'The kettle', text: 'Fill it with water.', metadata: { room: 'kitchen' } },
      idempotent: 'commit',
      answers: {
        202: answers('The task that ingests it.', taskShape, EXAMPLE, [
          'Location',
          'Retry-After',
          'Idempotency-Replayed',
        ]),
      },
      handle: async (input) => {
        const { principal, params, form } = input;
        refuseToSubmit(principal);
        const { name: collection, embedding_model } = await read(principal, params.name);
        if (embedding_model === null)
          throw invalid([{ pointer: '#', detail: 'cannot go into a collection of vectors of your own making' }]);
        if (!form?.raw) refuseQuery(input.query);
        if (!form) return submit({ collection, ...(input.sent as object) }, input);
        const received = form.raw
          ? await receiveRaw(form, principal.userId, input.query)
          : await receiveFile({ db, files }, form, principal.userId, fields, () => DOCUMENT_PURPOSE);
        const forget = () => deleteFile(db, principal.userId, received.file.id).catch(() => {});
        try {
          const key = input.key && withContent(input.key, received.digest);
          const given = { collection, file_id: received.file.id, ...readFields(received.fields) };
          const answer = await submit(given, { ...input, key });
          // The task of the first request with this key has the file that came with that.
          if (answer.headers?.['Idempotency-Replayed']) await forget();
          return answer;
        } catch (error) {
          await forget();
          throw error;
        }
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/collections/:name/documents',
      summary: 'List the documents of a collection, newest first',
      query: v.strictObject(pageQuery),
      answers: {
        200: answers('A page of documents.', pageOf(shape), { data: [documentExample], next_cursor: null }),
      },
      handle: async ({ query, params, principal }) => {
        const { id } = await read(principal, params.name);
        const { rows, next } = await listDocuments(db, id, query);
        return { status: 200, body: { data: rows.map(presentDocument), next_cursor: next } };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/collections/:name/documents/:id',
      summary: 'Read what is known of a document',
      answers: { 200: answers('The document.', shape, documentExample) },
      handle: async ({ params: { name, id = '' }, principal }) => {
        const collection = await read(principal, name);
        const row = isId(id) ? await findDocument(db, collection.id, id) : undefined;
        if (!row) throw noSuchDocument();
        return { status: 200, body: presentDocument(row) };
      },
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/collections/:name/documents/:id',
      summary: 'Delete a document with all its chunks',
      answers: { 204: answersNothing('The document is gone, and found no more.') },
      handle: async ({ params: { name, id = '' }, principal, trail }) => {
        const collection = await read(principal, name);
        const gone = await db.transaction().execute(async (trx) => {
          const hidden = isId(id) ? await hideDocument(trx, collection.id, id) : undefined;
          const object = { type: 'document', id };
          const details = { collection: collection.name, title: hidden?.title, source: hidden?.source };
          if (hidden) await insertAudit(trx, [trail.entry({ action: 'document.delete', object, details })]);
          return hidden;
        });
        if (!gone) throw noSuchDocument();
        // At once where that is possible; what it comes to, a worker sees to later.
        const stores = { db, store: requireStore(vectors) };
        await clearDocuments(stores, { ids: [id], quietMs: 0 }, AbortSignal.timeout(CLEAR_MS)).catch((error) =>
          log.debug({ err: error }, 'a deleted document could not be cleared away yet; a worker does it later'),
        );
        return { status: 204 };
      },
    }),
  ];
  return offWhen(vectors === undefined, VECTORS_OFF, routes);
}

function refuseQuery(given: object): void {
  const errors = Object.keys(given).map((name) => ({ pointer: `#/${name}`, detail: 'stands in the body' }));
  if (errors.length > 0) throw invalid(errors, 'The query is not valid.');
}

/** The fields of a form as those of the task. */
function readFields({ metadata, chunk_tokens, overlap_tokens, ...rest }: v.InferOutput<typeof fields>) {
  return {
    ...rest,
    ...(metadata === undefined ? {} : { metadata: readMetadata(metadata) }),
    ...(chunk_tokens === undefined ? {} : { chunk_tokens: Number(chunk_tokens) }),
    ...(overlap_tokens === undefined ? {} : { overlap_tokens: Number(overlap_tokens) }),
  };
}

function readMetadata(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    throw invalid([{ pointer: '#/metadata', detail: 'must be a JSON object, as text' }]);
  }
}

const noSuchDocument = () => new ProblemError('not_found', 'There is no such document in this collection.');

const EXAMPLE = {
  ...pendingExample,
  ...{ type: documentIngest.name, tags: [] },
  input: { collection: 'manuals', title: 'The kettle', text: 'Fill it with water.', metadata: { room: 'kitchen' } },
};
