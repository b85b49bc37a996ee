import { createHash } from 'node:crypto';
import type { Outbound } from '../../clients/outbound.ts';
import { answerError, callError, isSuccess } from '../../clients/outcomes.ts';
import type { Db } from '../../db/connect.ts';
import { findFile, readFile } from '../../db/files.ts';
import { Unreadable } from '../../documents/blocks.ts';
import { nameOf } from '../../documents/identity.ts';
import { type About, CONTENT_TYPES, type Kind, knownKind } from '../../documents/kinds.ts';
import { TaskError } from '../../errors.ts';
import type { IngestRequest } from '../../tasks/tools.ts';
import { type Attempt, triesOf } from '../attempt.ts';

/** What is to be ingested, as it came. */
export interface Content {
  bytes: Uint8Array;
  about: About;
  /** Where it came from: the URL, or the name of the file. */
  source: string | null;
}

interface Options {
  db: Db;
  outbound: Outbound;
  maxFileBytes: number;
  /** How long the content of a URL may take to come. */
  fetchMs?: number;
}

/** So much is read of an answer that is only an error. */
const MAX_ERROR_BYTES = 4_000;
/** Whoever drips a page would keep other documents from being read. */
const FETCH_MS = 60_000;
/** A document is in memory whole, here and in the process that reads it, however large files may be. */
const MAX_BYTES = 256 * 1_048_576;

/** Gets the content that a request names. @throws TaskError */
export async function loadContent(
  { db, outbound, maxFileBytes, fetchMs = FETCH_MS }: Options,
  attempt: Attempt,
  { text, url, file_id, content_type: contentType }: IngestRequest,
): Promise<Content> {
  const maxBytes = Math.min(maxFileBytes, MAX_BYTES);
  if (url !== undefined) return fetchContent();
  if (file_id !== undefined) return readContent(file_id);
  const bytes = new TextEncoder().encode(text);
  // It is text already, whatever its type says of how that was encoded.
  const type = contentType?.split(';', 1)[0] ?? 'text/plain';
  return { bytes, about: { contentType: `${type}; charset=utf-8` }, source: null };

  async function fetchContent(): Promise<Content> {
    const address = url as string;
    const late = AbortSignal.timeout(fetchMs);
    const answer = await outbound
      .request(address, {
        method: 'GET',
        headers: { 'user-agent': 'SutazAI/1', 'accept-encoding': 'identity' },
        signal: AbortSignal.any([attempt.signal, late]),
        maxBytes: (status) => (isSuccess(status) ? maxBytes : MAX_ERROR_BYTES),
        asBytes: isSuccess,
      })
      .catch((error) => {
        attempt.signal.throwIfAborted();
        if (late.aborted) throw tooSlow(fetchMs, error);
        throw callError(error);
      });
    const failure = answerError(answer, triesOf(attempt.task));
    if (failure) throw failure;
    if (answer.cut) throw tooLarge(maxBytes, maxFileBytes);
    const packing = [answer.headers['content-encoding'] ?? 'identity'].flat().join(', ');
    // Unpacking what was not asked for would mean another cap, for what it becomes.
    if (packing !== 'identity')
      throw new TaskError('upstream_protocol', `The answer is packed (${packing}), which the request did not allow.`);
    const said = [answer.headers['content-type']].flat()[0];
    const about = { contentType: contentType ?? said, name: new URL(address).pathname };
    return { bytes: answer.bytes ?? new Uint8Array(), about, source: address };
  }

  async function readContent(id: string): Promise<Content> {
    const file = await findFile(db, attempt.task.user_id, id);
    if (!file) throw new TaskError('invalid_input', 'There is no such file, or it is not there any more.');
    if (file.bytes > maxFileBytes) throw tooLarge(maxBytes, maxFileBytes);
    const parts: Uint8Array[] = [];
    for await (const part of readFile(db, id)) {
      attempt.signal.throwIfAborted();
      parts.push(part);
    }
    const about = { contentType: contentType ?? file.content_type, name: file.filename };
    return { bytes: Buffer.concat(parts), about, source: nameOf(file) };
  }
}

/** What a content is as far as that can be told without reading it. @throws TaskError `document_unreadable` */
export function kindOrRefuse({ about, bytes }: Content): Kind | undefined {
  try {
    return knownKind(about, bytes);
  } catch (error) {
    throw error instanceof Unreadable ? new TaskError('document_unreadable', error.message) : error;
  }
}

/** Of the content and of what decides on its chunks: what has the same hash has the same chunks. */
export function hashOf(
  { bytes }: Content,
  kind: Kind | undefined,
  { chunk_tokens, overlap_tokens }: IngestRequest,
): string {
  const contentType = kind === undefined ? 'not known' : CONTENT_TYPES[kind];
  return createHash('sha256').update(`${contentType} ${chunk_tokens} ${overlap_tokens}\n`).update(bytes).digest('hex');
}

function tooLarge(maxBytes: number, maxFileBytes: number): TaskError {
  const more = maxBytes === maxFileBytes ? 'An operator can raise MAX_FILE_BYTES.' : 'A document may have no more.';
  return new TaskError('document_unreadable', `The content has more than ${maxBytes} bytes. ${more}`);
}

function tooSlow(ms: number, cause: unknown): TaskError {
  const message = `The content did not come whole within ${ms / 1000} s.`;
  return new TaskError('upstream_unavailable', message, { retryable: true, cause });
}
