import * as v from 'valibot';
import type { VectorClient } from '../../clients/qdrant.ts';
import type { Config } from '../../config.ts';
import { insertAudit } from '../../db/audit.ts';
import { type CollectionRow, findCollection, type SeenCollection, seeCollection } from '../../db/collections.ts';
import type { Db } from '../../db/connect.ts';
import { findDocument, hasAllDocuments, hideDocument, listDocuments } from '../../db/documents.ts';
import { DOCUMENT_PURPOSE, deleteFile } from '../../db/files.ts';
import { findKey, type KeyUse } from '../../db/idempotency.ts';
import { isId } from '../../db/ids.ts';
import { clearDocuments } from '../../documents/clear.ts';
import { identityOf, nameOf } from '../../documents/identity.ts';
import { ProblemError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { documentIngest } from '../../tasks/document-ingest.ts';
import { requireStore } from '../../vectors/points.ts';
import { answers, answersNothing, pageOf } from '../answer.ts';
import { noSuchCollection } from '../collections.ts';
import { keyRefused, withContent } from '../idempotency.ts';
import { beyondKey, keyRefusals, usualPriority } from '../key-limits.ts';
import type { Form } from '../request.ts';
import { defineRoute, offWhen, type Principal, type Route, type RouteAnswer, type RouteInput } from '../route.ts';
import { documentExample, presentDocument, document as shape } from '../shapes/document.ts';
import { pendingExample, taskExample, task as taskShape } from '../shapes/task.ts';
import type { StoreTasks } from '../store.ts';
import { applyCancelAfter, type PrepareContext, parsePreferWait, prepareTask } from '../submit.ts';
import { digestBody, digestForm, receiveBody, receiveFile } from '../upload.ts';
import { invalid, pageQuery } from '../validate.ts';
import type { Waiters } from '../waiters.ts';
import { VECTORS_OFF } from './collections.ts';
import { DOCUMENT_FILES } from './document-examples.ts';
import { body, fields, query, RAW, readFields, refuseQuery } from './document-fields.ts';
import { answerHeld, storeHeld, TASK_HEADERS } from './task-answer.ts';

interface Options extends PrepareContext {
  db: Db;
  store: StoreTasks;
  waiters: Waiters;
  /** How many documents a user may have; 0 is no limit. */
  maxDocuments: number;
  vectors: VectorClient | undefined;
  files: Config['files'];
  log: Logger;
}

type Asked = Pick<RouteInput<unknown, unknown>, 'principal' | 'requestId' | 'base' | 'key' | 'header' | 'signal'>;

/** How long a request that deletes waits for the vector store; what it does not do then is done later. */
const CLEAR_MS = 3_000;

/** Documents in collections of the one who asks. */
export function documentRoutes({
  db,
  store,
  waiters,
  maxDocuments,
  vectors,
  files,
  log,
  ...context
}: Options): Route[] {
  async function read({ userId }: Principal, name = ''): Promise<CollectionRow> {
    const row = await findCollection(db, userId, name);
    if (!row) throw noSuchCollection();
    return row;
  }

  /** A collection that takes documents. */
  async function open({ userId }: Principal, name = ''): Promise<SeenCollection> {
    const row = await seeCollection(db, userId, name);
    if (!row) throw noSuchCollection();
    if (row.embedding_model === null)
      throw invalid([{ pointer: '#', detail: 'cannot go into a collection of vectors of your own making' }]);
    return row;
  }

  /** Makes the task of what `look` finds; `stored` hears that it is there. */
  async function submit(
    look: () => Promise<{ input: unknown; seen_at: string }>,
    { principal, requestId, base, key, header, signal }: Asked,
    stored?: (again: boolean) => unknown,
  ): Promise<RouteAnswer> {
    const seconds = parsePreferWait(header('prefer'));
    const whose = { userId: principal.userId, requestId, batchId: null, watched: seconds !== undefined, pointer: '#' };
    const asked = { ...whose, usualPriority: usualPriority(principal) };
    const make = async () => {
      const { input, seen_at } = await look();
      const given = { type: documentIngest.name, input, metadata: {}, tags: [] };
      const made = prepareTask(applyCancelAfter(given, header('cancel-after')), asked, context);
      // It may be deleted before the task is stored: then the task comes to nothing, and makes none anew.
      if ('task' in made) return { ...made, task: { ...made.task, accepted_at: seen_at } };
      // What the caller sent is the input itself.
      throw invalid(made.errors.map((one) => ({ ...one, pointer: one.pointer.replace('#/input', '#') })));
    };
    const held = await storeHeld({ db, store, waiters }, make, { key, signal, seconds }, stored);
    return answerHeld(held, { base, seconds });
  }

  /** A document that takes the place of another one has its room. */
  async function refuseFull({ userId }: Principal, id: string, identity: string | null) {
    const given = { user_id: userId, collection_id: id, identity };
    if (!(await hasAllDocuments(db, given, maxDocuments))) return;
    throw new ProblemError(
      'limit_reached',
      `You have ${maxDocuments} documents, which is the most (MAX_DOCUMENTS_PER_USER). Delete one first.`,
    );
  }

  async function receiveRaw(form: Form, userId: string, { filename = '', ...said }: v.InferOutput<typeof query>) {
    const received = await receiveBody({ db, files }, form, userId, { filename, purpose: DOCUMENT_PURPOSE });
    return { ...received, fields: said };
  }

  /** A file that comes under a key which is taken is compared with the first one, and not stored: the task has that. */
  async function repeat(form: Form, key: KeyUse, asked: Asked): Promise<RouteAnswer> {
    const digest = form.raw ? await digestBody(files, form) : await digestForm(files, form, fields);
    const nothingNew = () => Promise.reject(keyRefused('in_use'));
    return submit(nothingNew, { ...asked, key: withContent(key, digest) });
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
      fileExamples: DOCUMENT_FILES,
      headers: ['Prefer', 'Cancel-After'],
      idempotent: 'commit',
      answers: {
        200: answers('The task has ended within the time of `Prefer: wait`.', taskShape, INGESTED, TASK_HEADERS),
        202: answers('The task that ingests it.', taskShape, EXAMPLE, TASK_HEADERS),
      },
      handle: async (input) => {
        const { principal, params, form } = input;
        refuseToSubmit(principal);
        if (!form?.raw) refuseQuery(input.query);
        if (!form) {
          const look = async () => {
            const { id, name: collection, seen_at } = await open(principal, params.name);
            await refuseFull(principal, id, identityOf(input.body.url ?? null, input.body));
            return { seen_at, input: { collection, ...(input.sent as object) } };
          };
          return submit(look, input);
        }
        if (input.key && (await findKey(db, input.key))) return repeat(form, input.key, input);
        await open(principal, params.name);
        const received = form.raw
          ? await receiveRaw(form, principal.userId, input.query)
          : await receiveFile({ db, files }, form, principal.userId, fields, () => DOCUMENT_PURPOSE);
        let isNeeded = false;
        try {
          const look = async () => {
            // It may have been deleted while the file came.
            const { id, name: collection, seen_at } = await open(principal, params.name);
            await refuseFull(principal, id, identityOf(nameOf(received.file), received.fields));
            return { seen_at, input: { collection, file_id: received.file.id, ...readFields(received.fields) } };
          };
          const key = input.key && withContent(input.key, received.digest);
          return await submit(look, { ...input, key }, (again) => {
            // Where the same came twice at once, the task has the file of the first.
            isNeeded = !again;
          });
        } finally {
          if (!isNeeded) await deleteFile(db, principal.userId, received.file.id).catch(() => {});
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

const noSuchDocument = () => new ProblemError('not_found', 'There is no such document in this collection.');

const EXAMPLE = {
  ...pendingExample,
  ...{ type: documentIngest.name, tags: [] },
  input: { collection: 'manuals', title: 'The kettle', text: 'Fill it with water.', metadata: { room: 'kitchen' } },
};

const INGESTED = {
  ...taskExample,
  ...{ type: EXAMPLE.type, tags: EXAMPLE.tags, input: EXAMPLE.input },
  output: {
    ...{ document_id: documentExample.id, collection: 'manuals', title: 'The kettle' },
    ...{ content_type: 'text/plain', chunks: 1, outcome: 'stored' },
  },
};
