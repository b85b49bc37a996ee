import * as v from 'valibot';
import { defineTask } from './define.ts';
import { strictObject } from './schemas.ts';
import { taskFilter } from './task-filter.ts';

const count = v.pipe(v.number(), v.integer(), v.minValue(0));

export const taskBulk = defineTask({
  name: 'task.bulk',
  title: 'Steer many tasks',
  summary: 'Cancels, retries or deletes all tasks that a filter chooses.',
  lane: 'system',
  route: 'POST /api/v1/tasks/bulk',
  input: v.strictObject({
    action: v.picklist(['cancel', 'retry', 'delete'], 'must be one of cancel, retry, delete'),
    filter: strictObject(taskFilter),
    owner: v.optional(v.string()),
    key_id: v.optional(v.string()),
  }),
  output: v.strictObject({ matched: count, changed: count, skipped: count, failed: count }),
  defaults: { attempts: 5, timeoutSeconds: 3_600, backoff: { minMs: 1_000, maxMs: 60_000 } },
  examples: [{ action: 'cancel', filter: { tag: 'nightly' } }],
  async run(request, tools) {
    const work = tools.tasks.bulk(request);
    const total = await work.count();
    const sum = { matched: 0, changed: 0, skipped: 0, failed: 0 };
    for (let step = await work.next(); step; step = await work.next()) {
      for (const name of Object.keys(sum) as Array<keyof typeof sum>) sum[name] += step[name];
      const of = total === undefined ? '' : ` of ${Math.max(total, sum.matched)}`;
      tools.progress(total ? (100 * sum.matched) / Math.max(total, sum.matched) : null, `${sum.matched}${of} tasks`);
    }
    return sum;
  },
});
