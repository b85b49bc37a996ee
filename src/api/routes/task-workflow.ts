import * as v from 'valibot';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { isId } from '../../db/ids.ts';
import { findTask, type TaskRow } from '../../db/tasks/read.ts';
import { loadDefinition } from '../../db/workflow-definitions.ts';
import { decideStep } from '../../db/workflows/decide.ts';
import { findApproval, findRun, type GraphRow, listEdges, listSteps, noteDecision } from '../../db/workflows/graph.ts';
import { ProblemError } from '../../errors.ts';
import { maxCharacters } from '../../tasks/schemas.ts';
import { APPROVAL, type Definition, WORKFLOW, type WorkflowInput } from '../../tasks/workflow-definition.ts';
import { needsOf, readStep } from '../../workflows/language.ts';
import { answers } from '../answer.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import { decided, decidedExample, type GraphNode, graph, graphExample } from '../shapes/graph.ts';
import { noSuchTask, ownerFor, readTask } from './task-access.ts';

interface Options {
  db: Db;
  /** Moves a workflow on soon. */
  workflows: { advance(workflowId: string): void };
}

const MAX_NODES = 1_000;

const query = v.strictObject({
  limit: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d{1,4}$/, `must be a whole number from 1 to ${MAX_NODES}`),
      v.metadata({ type: 'integer', minimum: 1, maximum: MAX_NODES, description: 'How many steps at most.' }),
      v.transform(Number),
      v.minValue(1, `must be from 1 to ${MAX_NODES}`),
      v.maxValue(MAX_NODES, `must be from 1 to ${MAX_NODES}`),
    ),
    '200',
  ),
  cursor: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d{1,6}$/, 'must be the next_cursor of an earlier answer'),
      v.metadata({ description: 'The `next_cursor` of the page before.' }),
    ),
  ),
});

const decision = v.strictObject({
  step: v.pipe(v.string(), v.minLength(1, 'must not be empty'), maxCharacters(100)),
  comment: v.optional(v.nullable(v.pipe(v.string(), maxCharacters(1_000))), null),
});

/** What is to be seen of a workflow, and the decisions that it waits for. */
export function taskWorkflowRoutes({ db, workflows }: Options): Route[] {
  /**
   * The workflow and its step, for whoever may decide about it: those that the step names; where it names none, the owner and
   * those who may steer all tasks. @throws ProblemError `not_found`, `forbidden`
   */
  async function readApproval(principal: Principal, id: string, step: string): Promise<TaskRow> {
    const task = isId(id) ? await findTask(db, 'any', id) : undefined;
    const approval = task && (await findApproval(db, task.id, step, principal.userId));
    // Names are found whatever their case, and nobody has one that differs from another by that alone. Nor is anybody meant who took
    // a name later that nobody had.
    const isNamed =
      approval?.known && approval.approvers?.some((one) => one.toLowerCase() === principal.username.toLowerCase());
    const owner = ownerFor(principal, 'tasks:read:any');
    if (!task || !(isNamed || owner === 'any' || task.user_id === principal.userId)) throw noSuchTask();
    if (!approval) throw new ProblemError('not_found', `The task has no step ${step} that waits for a decision.`);
    const may = approval.approvers ? isNamed : task.user_id === principal.userId || principal.can('tasks:steer:any');
    if (!may) throw new ProblemError('forbidden', 'The step names others who decide about it.');
    return task;
  }

  function decide(verb: 'approve' | 'reject'): Route {
    const approved = verb === 'approve';
    return defineRoute({
      method: 'POST',
      path: `/api/v1/tasks/:id/${verb}`,
      summary: approved
        ? 'Let a workflow go on that waits for a human'
        : 'Say no to a step that waits for a human: it fails',
      body: decision,
      example: { step: 'ask', comment: 'Seen and checked' },
      answers: { 200: answers('The decision counts.', decided, { ...decidedExample, approved }) },
      problems: ['not_waiting'],
      handle: async ({ body: { step, comment }, params: { id = '' }, principal, trail }) => {
        const task = await readApproval(principal, id, step);
        const { username: by } = principal;
        const made = { workflowId: task.id, step, approved, comment };
        const is = await db.transaction().execute(async (trx) => {
          const outcome = await decideStep(trx, { ...made, by: { id: principal.userId, username: by } });
          if (outcome !== 'decided') return outcome;
          await noteDecision(trx, { ...made, by });
          const details = { owner: task.user_id, step };
          await insertAudit(trx, [
            trail.entry({ action: `task.${verb}`, object: { type: 'task', id: task.id }, details }),
          ]);
          return outcome;
        });
        if (is !== 'decided') throw await notWaiting(db, task, step, principal.userId);
        workflows.advance(task.id);
        return { status: 200, body: { task_id: task.id, step, approved, by, comment } };
      },
    });
  }

  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/tasks/:id/graph',
      summary: 'See the steps of a workflow: where each stands, and what it waits for',
      query,
      answers: { 200: answers('A page of its steps, in the order of the definition.', graph, graphExample) },
      handle: async ({ params, principal, query: { limit, cursor } }) => {
        const task = await readTask(db, principal, params.id);
        if (task.type !== WORKFLOW) throw new ProblemError('not_found', 'The task is no workflow, so it has no graph.');
        const from = Number(cursor ?? 0);
        const run = await findRun(db, task.id);
        const page = run ? await begun(db, task, from, limit) : await planned(db, task, from, limit);
        return {
          status: 200,
          body: { task_id: task.id, phase: run?.phase ?? 'waiting', ...page, ...(run && { counts: run.counts }) },
        };
      },
    }),
    decide('approve'),
    decide('reject'),
  ];
}

async function notWaiting(db: Db, task: TaskRow, step: string, userId: string): Promise<ProblemError> {
  const { decision = null } = (await findApproval(db, task.id, step, userId)) ?? {};
  const detail = decision
    ? `${decision.by.username} ${decision.approved ? 'approved' : 'rejected'} the step ${step} already.`
    : `The step ${step} does not wait for a decision now.`;
  return new ProblemError('not_waiting', detail);
}

async function begun(db: Db, { id }: TaskRow, from: number, limit: number) {
  const rows = await listSteps(db, id, from, limit + 1);
  const shown = rows.slice(0, limit);
  const edges = await listEdges(
    db,
    id,
    shown.map((row) => row.id),
  );
  return { nodes: shown.map(presentNode), edges, next_cursor: rows[limit] ? String(rows[limit].place) : null };
}

/** A workflow that has not begun has no rows of its steps so far. */
async function planned(db: Db, task: TaskRow, from: number, limit: number) {
  const { steps } = (await definitionOf(db, task)) ?? { steps: [] };
  const shown = steps.slice(from, from + limit);
  const nodes = shown.map(({ id, type, title = null, approvers = null }, index) =>
    presentNode({
      ...{ id, type, title, place: from + index, status: 'waiting', task_id: null, error: null, items: null },
      ...{
        approvers,
        decision: null,
        expires_at: null,
        undo: null,
        undo_task_id: null,
        started_at: null,
        ended_at: null,
      },
    }),
  );
  const edges = shown.flatMap((step) => {
    // What cannot be read any more names nothing.
    const read = readStep(step, () => {});
    return [...needsOf(step, read).keys()].map((need) => ({ from: need, to: step.id }));
  });
  const next_cursor = steps.length > from + limit ? String(from + limit) : null;
  return { counts: { waiting: steps.length }, nodes, edges, next_cursor };
}

async function definitionOf(db: Db, { user_id, input }: TaskRow): Promise<Definition | undefined> {
  const { steps, workflow, version } = (input ?? {}) as WorkflowInput;
  if (steps) return { steps };
  return workflow === undefined ? undefined : (await loadDefinition(db, user_id, { workflow, version }))?.definition;
}

function presentNode(row: GraphRow): GraphNode {
  const { id, type, title, status, task_id, error, items, approvers, decision, expires_at, undo, undo_task_id } = row;
  return {
    ...{ id, type, title, status, task_id, error, items },
    approval:
      type === APPROVAL
        ? {
            approvers,
            expires_at,
            decision: decision && { ...decision, by: decision.by.username, at: new Date(decision.at) },
          }
        : null,
    undo: undo && { status: undo, task_id: undo_task_id },
    started_at: row.started_at,
    ended_at: row.ended_at,
  };
}
