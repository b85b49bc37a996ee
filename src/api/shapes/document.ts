import * as v from 'valibot';
import type { ListedDocument } from '../../db/documents.ts';
import { hasEnded } from '../../db/schema.ts';
import { named, sentId, sentTime } from '../../tasks/named.ts';
import { jsonObject } from '../../tasks/schemas.ts';

/** A document of a collection, as its owner sees it. */
export const document = named(
  'Document',
  v.strictObject({
    id: sentId,
    title: v.nullable(v.string()),
    source: v.nullable(v.pipe(v.string(), v.description('The URL, or the name of the file, that it came from.'))),
    content_type: v.string(),
    metadata: jsonObject,
    status: v.pipe(
      v.picklist(['ingesting', 'ready', 'failed']),
      v.description(
        'It is found from `ready` on. One that failed is gone on with when the same content is sent again.',
      ),
    ),
    chunks: v.pipe(v.number(), v.integer(), v.description('How many it is cut into; 0 until it was read.')),
    chunks_embedded: v.pipe(v.number(), v.integer()),
    bytes: v.pipe(v.number(), v.integer()),
    error: v.nullable(
      v.pipe(
        v.strictObject({ code: v.string(), message: v.string(), retryable: v.boolean() }),
        v.description('Of its task; `cancelled` or `expired` where that was stopped.'),
      ),
    ),
    task_id: v.nullable(v.pipe(sentId, v.description('The task that ingests it, or did.'))),
    created_at: sentTime,
    updated_at: sentTime,
  }),
);

/** What is shown of a document: whether its task came to nothing is known of that alone. */
export function presentDocument(row: ListedDocument): v.InferOutput<typeof document> {
  const { id, title, source, content_type, metadata, chunks, embedded, bytes, task_id, created_at, updated_at } = row;
  const ready = row.status === 'ready';
  const failed = !ready && (row.task_status === null || hasEnded(row.task_status));
  return {
    ...{ id, title, source, content_type, metadata, bytes, chunks, chunks_embedded: ready ? chunks : embedded },
    status: ready ? 'ready' : failed ? 'failed' : 'ingesting',
    error: failed ? errorOf(row) : null,
    ...{ task_id, created_at, updated_at },
  };
}

/** Of a task that was stopped, what went wrong in an earlier attempt is not why. */
function errorOf({ task_status: status, task_error }: ListedDocument): v.InferOutput<typeof document>['error'] {
  if (status !== 'cancelled' && status !== 'expired') return task_error;
  const message =
    status === 'cancelled'
      ? 'The task that ingests it was cancelled.'
      : 'The task that ingests it did not start in time.';
  return { code: status, message, retryable: true };
}

export const documentExample: v.InferInput<typeof document> = {
  ...{ id: '01980000-0000-7000-8000-000000000060', title: 'The kettle', source: 'kettle.md' },
  ...{ content_type: 'text/markdown', metadata: { room: 'kitchen' }, status: 'ready', chunks: 2, chunks_embedded: 2 },
  ...{ bytes: 96, error: null, task_id: '0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e10' },
  ...{ created_at: '2030-01-30T09:00:00.000Z', updated_at: '2030-01-30T09:00:02.000Z' },
};
