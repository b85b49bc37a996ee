import { isDeepStrictEqual } from 'node:util';
import type { VectorClient } from '../../clients/qdrant.ts';
import type { Config } from '../../config.ts';
import { type CollectionRow, findCollection } from '../../db/collections.ts';
import type { Db } from '../../db/connect.ts';
import {
  findUnfinished,
  finishDocument,
  markEmbedded,
  renameDocument,
  replaceNamed,
  type Standing,
  storeChunks,
  takeReady,
} from '../../db/document-work.ts';
import { type DocumentRow, listChunks } from '../../db/documents.ts';
import { DOCUMENT_PURPOSE, deleteFile, findFile } from '../../db/files.ts';
import { newId } from '../../db/ids.ts';
import { clearDocuments, pointsOf } from '../../documents/clear.ts';
import { identityOf } from '../../documents/identity.ts';
import { CONTENT_TYPES } from '../../documents/kinds.ts';
import { piecesOf } from '../../documents/pieces.ts';
import type { DocumentReader } from '../../documents/reader.ts';
import { TaskError } from '../../errors.ts';
import { cleanText } from '../../tasks/clean.ts';
import type { Ingested, IngestRequest, Tools } from '../../tasks/tools.ts';
import { scopeOf, storeName } from '../../vectors/collection.ts';
import { embedInto } from '../../vectors/model.ts';
import { putPoints, requireStore } from '../../vectors/points.ts';
import type { PointRoom } from '../../vectors/room.ts';
import type { Attempt } from '../attempt.ts';
import { prepareCollection } from './document-collections.ts';
import { hashOf, kindOrRefuse, loadContent } from './document-content.ts';
import { embedChunks } from './document-embedding.ts';
import { busy, openFor } from './document-opening.ts';

interface Options extends Pick<Tools, 'progress'> {
  db: Db;
  vectors: VectorClient | undefined;
  embed: Tools['models']['embed'];
  outbound: Parameters<typeof loadContent>[0]['outbound'];
  reader: DocumentReader;
  maxFileBytes: number;
  room: PointRoom;
  most: Config['vectors']['most'];
}

/** Chunks of one call of the model and one of the store, with a few points each; after each the document knows how far it is. */
const BATCH = 32;
/** Searches that began before a document was replaced are over by then; they still saw the old one. */
const SEARCHES_MS = 1_000;

/** Documents of the task's user, as its attempt ingests them. */
export function documentTools(attempt: Attempt, options: Options): Tools['documents'] {
  const { db, embed, reader, room, most, progress } = options;
  const { signal, task } = attempt;

  return {
    async ingest(request) {
      const store = requireStore(options.vectors);
      // What an earlier attempt has cut up need not be got and read again.
      const unfinished = await findUnfinished(db, task.id);
      const { is, document } = unfinished ? { is: 'mine', document: unfinished } : await beginInTurn(store, request);
      const ended = is === 'there' ? await keep(store, document, request) : await goOn(store, document, request);
      await dropUpload(request.file_id);
      return ended;
    },
  };

  /** Whoever has its turn keeps others from theirs, so what may wait for a model comes before. */
  async function beginInTurn(store: VectorClient, request: IngestRequest): Promise<Standing> {
    const about = { db, task, embed, maxCollections: most.collections };
    const makeCollection = await prepareCollection(request.collection, about);
    return reader.turn(signal, () => begin(store, request, makeCollection));
  }

  /** Gets the content and stores its chunks, or finds that it is there. */
  async function begin(
    store: VectorClient,
    request: IngestRequest,
    makeCollection: () => Promise<CollectionRow>,
  ): Promise<Standing> {
    const content = await loadContent(options, attempt, request);
    const kind = kindOrRefuse(content);
    const collection = await makeCollection();
    const standing = await openFor(task, { db, store, max: most.documents }, signal, {
      ...{
        name: request.collection,
        id: newId(),
        user_id: task.user_id,
        collection_id: collection.id,
        task_id: task.id,
      },
      ...{ identity: identityOf(content.source, request), title: request.title ?? null, source: content.source },
      // Until it has been read, what may be JSON is text.
      ...{ content_type: CONTENT_TYPES[kind ?? 'text'], content_hash: hashOf(content, kind, request) },
      ...{ metadata: JSON.stringify(request.metadata ?? {}), bytes: content.bytes.length },
    });
    const { is, document } = standing;
    // Of one that is there, only the name may be another.
    if (is === 'there') return { is, document: { ...document, identity: identityOf(content.source, request) } };
    if (document.status === 'embedding') return standing;
    const about = content.about;
    const chunking = { maxTokens: request.chunk_tokens, overlapTokens: request.overlap_tokens };
    const cut = await reader.read({ about, bytes: content.bytes, options: chunking }, signal);
    const title = request.title ?? cut.title?.slice(0, 500).toWellFormed() ?? null;
    const chunks = cut.chunks.map(({ heading, text, tokens }) => ({
      ...{ heading: cleanText(heading), text: cleanText(text).trim(), tokens },
    }));
    const read = { title, content_type: cut.contentType };
    const points = chunks.reduce((sum, { text }) => sum + piecesOf(text).length, 0);
    await room.check(store, task.user_id, points, signal);
    if (!(await storeChunks(db, document, read, chunks))) throw await gone(store, document);
    return { is, document: { ...document, ...read, chunks: chunks.length, embedded: 0, status: 'embedding' } };
  }

  /** Embeds what is not embedded yet, and shows the document. */
  async function goOn(store: VectorClient, document: DocumentRow, request: IngestRequest): Promise<Ingested> {
    const collection = await collectionOf(store, document, request);
    // The store may have lost what was there before; then all of it is made again, once.
    for (const from of [document.embedded, 0]) {
      const points = await embedFrom(store, collection, document, from, (so) => markEmbedded(db, document, so));
      if (await isStored(store, collection, document.id, points)) return finish(store, document, request);
    }
    throw new TaskError('upstream_protocol', 'The vector store does not have what was stored in it.', {
      retryable: true,
    });
  }

  async function isStored(
    store: VectorClient,
    collection: CollectionRow,
    id: string,
    points: number,
  ): Promise<boolean> {
    const filter = { must: [...scopeOf(collection), pointsOf(id)] };
    return (await store.count(storeName(collection), filter, signal)) === points;
  }

  /** Embeds from a chunk on to the end, and answers how many points the document has then. */
  async function embedFrom(
    store: VectorClient,
    collection: CollectionRow,
    document: Omit<DocumentRow, 'identity'>,
    from: number,
    mark: (so: { embedded: number; points: number }) => Promise<boolean>,
  ): Promise<number> {
    const all = document.chunks;
    // Those that were stored before chunks had several have one each.
    let count = from === 0 ? 0 : (document.points ?? from);
    const held = embedInto(db, embed, collection);
    for (let at = from; at < all; ) {
      signal.throwIfAborted();
      const chunks = await listChunks(db, document.id, at, BATCH);
      if (chunks.length === 0) throw await gone(store, document);
      const points = await embedChunks(held, collection, document, chunks);
      await putPoints({ db, store, room }, collection, points, signal);
      at += chunks.length;
      count += points.length;
      if (!(await mark({ embedded: at, points: count }))) throw await gone(store, document);
      progress((at / all) * 100, `${at.toLocaleString('en-US')} of ${all.toLocaleString('en-US')} chunks`);
    }
    return count;
  }

  async function finish(store: VectorClient, document: DocumentRow, request: IngestRequest): Promise<Ingested> {
    const { is, replaced } = await finishDocument(db, document);
    if (is === 'gone') throw await gone(store, document);
    await clearReplaced(store, replaced);
    const outcome = is === 'outdone' ? 'outdone' : replaced.length > 0 ? 'replaced' : 'stored';
    return ingested(document, request, outcome);
  }

  /** Leaves a document as it is, but for the title and metadata that were given with the same content. */
  async function keep(
    store: VectorClient,
    { identity, ...document }: DocumentRow,
    request: IngestRequest,
  ): Promise<Ingested> {
    const title = request.title ?? document.title;
    const metadata = request.metadata ?? document.metadata;
    const collection = await collectionOf(store, document, request);
    const same = title === document.title && isDeepStrictEqual(metadata, document.metadata);
    // What the store has lost is made again, too, and what has no points for its pieces yet gets them.
    const whole = document.points !== null && (await isStored(store, collection, document.id, document.points));
    if (!same || !whole) {
      // It can be found all the while: each point is replaced by one with the same text and vector.
      const mine = async () => {
        const is = await takeReady(db, document.id, task.id);
        if (is === 'busy') throw busy();
        return is === 'mine';
      };
      if (!(await mine())) throw await gone(store, document);
      const points = await embedFrom(store, collection, { ...document, title, metadata }, 0, mine);
      if (!(await renameDocument(db, document.id, { title, metadata: JSON.stringify(metadata), points })))
        throw await gone(store, document);
    }
    if (identity !== null) await clearReplaced(store, await replaceNamed(db, document, identity));
    return ingested({ ...document, title }, request, 'unchanged');
  }

  async function clearReplaced(store: VectorClient, ids: string[]): Promise<void> {
    if (ids.length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, SEARCHES_MS));
    await clearDocuments({ db, store }, { ids, taskId: task.id, quietMs: 0 }, signal);
  }

  /** The collection that the document is in; another of its name is none of ours. */
  async function collectionOf(
    store: VectorClient,
    document: Pick<DocumentRow, 'id' | 'collection_id'>,
    request: Pick<IngestRequest, 'collection'>,
  ): Promise<CollectionRow> {
    const known = await findCollection(db, task.user_id, request.collection);
    if (known?.id === document.collection_id) return known;
    throw await gone(store, document);
  }

  /** What was stored of a document that was deleted meanwhile is cleared away before the task ends. */
  async function gone(store: VectorClient, { id }: Pick<DocumentRow, 'id'>): Promise<TaskError> {
    await clearDocuments({ db, store }, { ids: [id], taskId: task.id, quietMs: 0 }, signal);
    return new TaskError('document_deleted', 'The document, or its collection, was deleted while it was ingested.');
  }

  async function dropUpload(fileId: string | undefined): Promise<void> {
    if (fileId === undefined) return;
    const file = await findFile(db, task.user_id, fileId);
    if (file?.purpose === DOCUMENT_PURPOSE) await deleteFile(db, task.user_id, fileId);
  }
}

function ingested(
  { id, title, content_type, chunks }: Pick<DocumentRow, 'id' | 'title' | 'content_type' | 'chunks'>,
  { collection }: Pick<IngestRequest, 'collection'>,
  outcome: Ingested['outcome'],
): Ingested {
  return { document_id: id, collection, title, content_type, chunks, outcome };
}
