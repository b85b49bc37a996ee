import * as v from 'valibot';
import { STEP_STATUSES } from '../../db/schema.ts';
import { named, sentId, sentTime } from '../../tasks/named.ts';
import { taskError } from './task.ts';

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const stepStatus = v.picklist(STEP_STATUSES);

const decision = v.strictObject({
  approved: v.boolean(),
  by: v.pipe(v.string(), v.description('The name of the user who decided.')),
  comment: v.nullable(v.string()),
  at: sentTime,
});

const node = named(
  'WorkflowNode',
  v.strictObject({
    id: v.string(),
    type: v.string(),
    title: v.nullable(v.string()),
    status: stepStatus,
    task_id: v.pipe(
      v.nullable(sentId),
      v.description('Its task, once there is one; that of an item is in the list of the tasks with this `parent_id`.'),
    ),
    error: v.nullable(taskError),
    items: v.pipe(
      v.nullable(
        v.strictObject({
          total: count,
          waiting: count,
          running: count,
          completed: count,
          failed: count,
          skipped: count,
          cancelled: count,
        }),
      ),
      v.description('Of a step with `for_each`, once its list is known.'),
    ),
    approval: v.nullable(
      v.strictObject({
        approvers: v.pipe(v.nullable(v.array(v.string())), v.description('Null: its owner, and operators.')),
        expires_at: v.nullable(sentTime),
        decision: v.nullable(decision),
      }),
    ),
    undo: v.pipe(
      v.nullable(
        v.strictObject({
          status: v.picklist(['ready', 'running', 'completed', 'failed']),
          task_id: v.nullable(sentId),
        }),
      ),
      v.description(
        'The task of `compensate`, where the step is undone; of a step with `for_each` how far that is, its tasks are in the list as well.',
      ),
    ),
    started_at: v.nullable(sentTime),
    ended_at: v.nullable(sentTime),
  }),
);

/** A page of the steps of a workflow and what each waits for. */
export const graph = named(
  'WorkflowGraph',
  v.strictObject({
    task_id: sentId,
    phase: v.pipe(
      v.picklist(['waiting', 'forward', 'stopping', 'undoing', 'ended', 'restart', 'anew']),
      v.description(
        'waiting: it has not begun; stopping: a step failed, and what is at work comes to its end; undoing: what was done is undone; restart, anew: it is run again.',
      ),
    ),
    counts: v.pipe(v.record(stepStatus, v.optional(count)), v.description('All its steps, by status.')),
    nodes: v.array(node),
    edges: v.pipe(
      v.array(v.strictObject({ from: v.string(), to: v.string() })),
      v.description('`to`, a step of this page, begins after `from`.'),
    ),
    next_cursor: v.nullable(v.string()),
  }),
);

export type GraphNode = v.InferOutput<typeof node>;

/** What was decided about a step. */
export const decided = named(
  'Decision',
  v.strictObject({
    task_id: sentId,
    step: v.string(),
    approved: v.boolean(),
    by: v.string(),
    comment: v.nullable(v.string()),
  }),
);

const ID = '01980000-0000-7000-8000-000000000080';

export const graphExample: v.InferInput<typeof graph> = {
  task_id: ID,
  phase: 'forward',
  counts: { completed: 1, awaiting: 1 },
  nodes: [
    {
      ...{
        id: 'hello',
        type: 'echo',
        title: null,
        status: 'completed',
        task_id: '01980000-0000-7000-8000-000000000081',
      },
      ...{ error: null, items: null, approval: null, undo: null },
      ...{ started_at: '2030-01-31T12:00:00.000Z', ended_at: '2030-01-31T12:00:00.050Z' },
    },
    {
      ...{
        id: 'ask',
        type: 'approval',
        title: 'Say it again?',
        status: 'awaiting',
        task_id: null,
        error: null,
        items: null,
      },
      approval: { approvers: null, expires_at: '2030-02-01T12:00:00.000Z', decision: null },
      ...{ undo: null, started_at: '2030-01-31T12:00:00.060Z', ended_at: null },
    },
  ],
  edges: [{ from: 'hello', to: 'ask' }],
  next_cursor: null,
};

export const decidedExample: v.InferInput<typeof decided> = {
  task_id: ID,
  step: 'ask',
  approved: true,
  by: 'ann',
  comment: 'Go on',
};
