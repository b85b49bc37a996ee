import { type Listing, listing, type PageQuery } from './pages.ts';
import type { CreateOptions } from './tasks.ts';
import type { Call, CallOptions, Transport } from './transport.ts';
import type { SubmittedTask, TaskFailure, TaskTypes } from './types.ts';

/** A document of a collection. */
export interface DocumentInfo {
  id: string;
  title: string | null;
  /** The URL, or the name of the file, that it came from. */
  source: string | null;
  content_type: string;
  metadata: Record<string, unknown>;
  /** It is found from `ready` on. */
  status: 'ingesting' | 'ready' | 'failed';
  /** How many it is cut into; 0 until it was read. */
  chunks: number;
  chunks_embedded: number;
  bytes: number;
  error: TaskFailure | null;
  /** The task that ingests it, or did. */
  task_id: string | null;
  created_at: string;
  updated_at: string;
}

type IngestTask = TaskTypes['document.ingest'];

/** One of `text`, `url` and `file`, and what is to be known of it besides. */
export interface NewDocument extends Omit<IngestTask['input'], 'collection' | 'file_id'> {
  /** What is in a file; a `File` brings its name. */
  file?: Blob;
  /** The name of the file, which says what it is, and whose place it takes. */
  filename?: string;
}

/** How long sending a file may take where nothing is said. */
const UPLOAD_MS = 600_000;

/** The calls for documents of a collection. */
export function documentCalls(transport: Transport) {
  const path = (collection: string, id?: string) =>
    `/api/v1/collections/${encodeURIComponent(collection)}/documents${id === undefined ? '' : `/${encodeURIComponent(id)}`}`;
  const send = async <T>(call: Call) => (await transport.send<T>(call)).body;

  return {
    /** Answers the task that ingests it; `tasks.wait` waits for that. A file is sent as it is read, and may take ten minutes where `timeoutMs` does not say. */
    create: (collection: string, { file, filename, ...document }: NewDocument, options: CreateOptions = {}) =>
      send<SubmittedTask<IngestTask['output']>>({
        ...{ method: 'POST', path: path(collection), creates: true },
        ...(file ? { form: formOf(file, filename, document), timeoutMs: UPLOAD_MS } : { body: document }),
        ...options,
      }),

    /** Newest first. */
    list: (collection: string, query: PageQuery = {}, options?: CallOptions): Listing<DocumentInfo> =>
      listing<DocumentInfo>(transport, path(collection), { ...query }, options),

    get: (collection: string, id: string, options: CallOptions = {}) =>
      send<DocumentInfo>({ method: 'GET', path: path(collection, id), ...options }),

    /** Takes all of its chunks away. */
    delete: (collection: string, id: string, options: CallOptions = {}) =>
      send<void>({ method: 'DELETE', path: path(collection, id), ...options }),
  };
}

/** The fields of a form are texts. */
function formOf(file: Blob, filename: string | undefined, fields: Omit<NewDocument, 'file' | 'filename'>): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields))
    if (value !== undefined) form.append(name, typeof value === 'string' ? value : JSON.stringify(value));
  // The last is the name that every browser gives to what has none, and the server takes for none.
  form.append('file', file, filename || (file instanceof File && file.name) || 'blob');
  return form;
}
