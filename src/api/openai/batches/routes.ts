import * as v from 'valibot';
import type { Config } from '../../../config.ts';
import {
  type CountedBatch,
  cancelBatch,
  findBatch,
  insertBatch,
  listBatches,
  MAX_UNENDED_BATCHES,
} from '../../../db/batches.ts';
import type { Db } from '../../../db/connect.ts';
import { mayStore } from '../../../db/files.ts';
import { newId } from '../../../db/ids.ts';
import { ProblemError } from '../../../errors.ts';
import { answers } from '../../answer.ts';
import { beyondKey, keyRefusals } from '../../key-limits.ts';
import { defineRoute, type Route } from '../../route.ts';
import { filesFull } from '../../shelf.ts';
import { invalid } from '../../validate.ts';
import { OpenAiError } from '../error.ts';
import { findId, noSuch, readId } from '../ids.ts';
import { listOf, listQuery, presentList } from '../lists.ts';
import { metadataSchema } from '../metadata.ts';
import { batchExample, batchShape, presentBatch } from './answer.ts';
import { ENDPOINTS } from './endpoints.ts';
import type { BatchRunner } from './runner.ts';

/** How long a batch may take. */
const WINDOW_HOURS = 24;
const PATHS = Object.keys(ENDPOINTS) as [string, ...string[]];

const request = v.strictObject({
  input_file_id: v.string(),
  endpoint: v.picklist(PATHS, `must be one of ${PATHS.join(', ')}`),
  completion_window: v.literal('24h', 'must be 24h'),
  metadata: metadataSchema,
});

/** Many calls at once, from a file into files. */
export function batchRoutes({ db, batches, config }: { db: Db; batches: BatchRunner; config: Config }): Route[] {
  async function read(userId: string, given: string | undefined): Promise<CountedBatch> {
    const found = await findBatch(db, userId, readId('batch', given));
    if (!found) throw noSuch('batch');
    return found;
  }

  return [
    defineRoute({
      method: 'POST',
      path: '/v1/batches',
      summary: 'Ask for everything that stands in a file',
      body: request,
      example: {
        ...{ input_file_id: 'file-0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e10', endpoint: '/v1/chat/completions' },
        completion_window: '24h',
      },
      idempotent: 'answer',
      answers: { 200: answers('The batch.', batchShape, batchExample, ['Idempotency-Replayed']) },
      handle: async ({ body, principal, requestId }) => {
        for (const permission of ['tasks:create', 'files:read'] as const)
          if (!principal.can(permission))
            throw new ProblemError('forbidden', `This wants the permission ${permission} too.`);
        const refused = keyRefusals({ type: ENDPOINTS[body.endpoint]?.type ?? '' }, principal, '#');
        if (refused.length > 0) throw beyondKey();
        const { maxUserBytes } = config.files;
        // What it writes is never refused, so it does not begin where there is no room for any of it.
        if (!(await mayStore(db, principal.userId, maxUserBytes))) throw filesFull(maxUserBytes);
        const fileId = findId('file', body.input_file_id);
        const made = {
          ...{ id: newId(), user_id: principal.userId, key_id: principal.keyId ?? null, request_id: requestId },
          ...{ endpoint: body.endpoint, completion_window: body.completion_window, metadata: body.metadata ?? null },
        };
        const batch = fileId && (await insertBatch(db, { ...made, input_file_id: fileId }, WINDOW_HOURS));
        if (batch === 'full') {
          const detail = `You have ${MAX_UNENDED_BATCHES} batches that have not ended. Wait for one of them, or cancel it.`;
          throw new ProblemError('limit_reached', detail);
        }
        if (!batch)
          throw invalid([{ pointer: '#/input_file_id', detail: 'must be a file of yours with the purpose batch' }]);
        batches.ring();
        return { status: 200, body: presentBatch({ ...batch, counts: { total: 0, completed: 0, failed: 0 } }) };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/v1/batches',
      summary: 'The batches of yours, newest first',
      query: v.strictObject(listQuery('batch', 20, 100)),
      problems: ['not_found'],
      answers: { 200: answers('A page of batches.', listOf(batchShape), presentList([batchExample], 1)) },
      handle: async ({ query, principal }) => {
        const after = query.after === undefined ? undefined : readId('batch', query.after);
        const rows = await listBatches(db, principal.userId, { limit: query.limit, after });
        return { status: 200, body: presentList(rows.map(presentBatch), query.limit) };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/v1/batches/:batch',
      summary: 'How far a batch is',
      answers: { 200: answers('The batch.', batchShape, batchExample) },
      handle: async ({ params, principal }) => ({
        status: 200,
        body: presentBatch(await read(principal.userId, params.batch)),
      }),
    }),
    defineRoute({
      method: 'POST',
      path: '/v1/batches/:batch/cancel',
      summary: 'Cancel what of a batch is not done yet',
      errors: [409],
      answers: { 200: answers('The batch, which comes to its end.', batchShape, batchExample) },
      handle: async ({ params, principal }) => {
        const id = readId('batch', params.batch);
        const cancelled = await cancelBatch(db, principal.userId, id);
        const batch = await read(principal.userId, params.batch);
        const done = batch.status === 'cancelling' || batch.status === 'cancelled';
        if (!cancelled && !done)
          throw new OpenAiError(409, 'batch_ended', `The batch is ${batch.status} and cannot be cancelled any more.`);
        batches.ring();
        return { status: 200, body: presentBatch(batch) };
      },
    }),
  ];
}
