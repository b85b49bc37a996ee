import * as v from 'valibot';
import type { CountedBatch } from '../../../db/batches.ts';
import type { BatchStatus } from '../../../db/schema.ts';
import { named } from '../../../tasks/named.ts';
import { openAiId, seconds } from '../ids.ts';

const STATUSES = [
  ...(['validating', 'failed', 'in_progress', 'finalizing'] as const),
  ...(['completed', 'expired', 'cancelling', 'cancelled'] as const),
] satisfies BatchStatus[];

const count = v.pipe(v.number(), v.integer());
const time = v.pipe(v.nullable(v.number()), v.description('In seconds since 1970.'));

/** A batch as OpenAI's clients read it. */
export const batchShape = named(
  'OpenAIBatch',
  v.strictObject({
    id: v.string(),
    object: v.literal('batch'),
    endpoint: v.string(),
    errors: v.nullable(
      v.strictObject({
        object: v.literal('list'),
        data: v.array(
          v.strictObject({
            ...{ code: v.string(), message: v.string(), param: v.nullable(v.string()), line: v.nullable(count) },
          }),
        ),
      }),
    ),
    input_file_id: v.string(),
    completion_window: v.string(),
    status: v.picklist(STATUSES),
    output_file_id: v.nullable(v.string()),
    error_file_id: v.nullable(v.string()),
    created_at: v.number(),
    ...{ in_progress_at: time, expires_at: time, finalizing_at: time, completed_at: time, failed_at: time },
    ...{ expired_at: time, cancelling_at: time, cancelled_at: time },
    request_counts: v.pipe(
      v.strictObject({ total: count, completed: count, failed: count }),
      v.description('Exact at any time. While the file is looked at, `total` grows.'),
    ),
    metadata: v.nullable(v.record(v.string(), v.string())),
  }),
);

type Batch = v.InferOutput<typeof batchShape>;

export const batchExample: Batch = {
  ...{
    id: 'batch_0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e11',
    object: 'batch',
    endpoint: '/v1/chat/completions',
    errors: null,
  },
  ...{ input_file_id: 'file-0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e10', completion_window: '24h', status: 'in_progress' },
  ...{ output_file_id: null, error_file_id: null, created_at: 1_893_456_000, in_progress_at: 1_893_456_001 },
  ...{ expires_at: 1_893_542_400, finalizing_at: null, completed_at: null, failed_at: null, expired_at: null },
  ...{ cancelling_at: null, cancelled_at: null, request_counts: { total: 1_000, completed: 310, failed: 2 } },
  metadata: null,
};

const FILES_ARE_THERE: BatchStatus[] = ['completed', 'expired', 'cancelled'];

export function presentBatch(batch: CountedBatch): Batch {
  const { id, endpoint, status, errors, counts, completion_window, metadata } = batch;
  const at = (when: Date | null) => (when === null ? null : seconds(when));
  const ended = (as: BatchStatus) => (status === as ? at(batch.ended_at) : null);
  const file = (its: string | null) =>
    its !== null && FILES_ARE_THERE.includes(status) ? openAiId('file', its) : null;
  return {
    id: openAiId('batch', id),
    object: 'batch',
    endpoint,
    errors: errors && { object: 'list', data: errors.map((error) => ({ ...error, param: null })) },
    input_file_id: openAiId('file', batch.input_file_id),
    completion_window,
    status,
    output_file_id: file(batch.output_file_id),
    error_file_id: file(batch.error_file_id),
    created_at: seconds(batch.created_at),
    in_progress_at: at(batch.in_progress_at),
    expires_at: at(batch.expires_at),
    finalizing_at: at(batch.finalizing_at),
    completed_at: ended('completed'),
    failed_at: ended('failed'),
    expired_at: ended('expired'),
    cancelling_at: at(batch.cancelling_at),
    cancelled_at: ended('cancelled'),
    request_counts: counts,
    metadata,
  };
}
