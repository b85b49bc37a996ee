import { findActiveAgents } from '../db/agents.ts';
import type { Db } from '../db/connect.ts';
import type { FieldError } from '../errors.ts';
import { beyondKey, keyRefusals } from './key-limits.ts';
import type { Principal } from './route.ts';
import type { MadeTask } from './store.ts';
import { type PrepareContext, prepareTask, type Submission } from './submit.ts';
import { invalid } from './validate.ts';
import { lengthErrors } from './vector-lengths.ts';
import { checkWorkflows } from './workflow-tasks.ts';

/** A submission, and where it stands in the body, as a JSON pointer. */
export interface Placed {
  submission: Submission;
  pointer: string;
}

interface Asked {
  userId: string;
  /** Who submits them, where somebody does: a schedule submits for its owner, whatever key made it. */
  principal?: Principal;
  requestId: string | null;
  batchId?: string | null;
  watched?: boolean;
  /** Of those that name none. */
  usualPriority: number;
  /** What the problem says of submissions that do not come straight from a body. */
  detail?: string;
}

/**
 * Checks submissions by all that a submission is checked by, and makes the rows of them: their fields and inputs, their agents,
 * the lengths of their vectors, the workflows that they are, and what their submitter may not have done.
 * @throws ProblemError `validation_failed` where any is not good, `forbidden` where any may not be submitted
 */
export async function prepareAll(
  given: Placed[],
  { userId, principal, detail, batchId = null, watched = false, requestId, usualPriority }: Asked,
  context: PrepareContext & { db: Db },
): Promise<MadeTask[]> {
  const { db } = context;
  const errors: FieldError[] = [];
  const whose = { userId, requestId, batchId, watched, usualPriority };
  const prepared = given.flatMap(({ submission, pointer }) => {
    const made = prepareTask(submission, { ...whose, pointer }, context);
    if ('task' in made) return [made];
    errors.push(...made.errors);
    return [];
  });
  errors.push(...(await agentErrors(db, userId, given)));
  if (errors.length === 0) errors.push(...(await lengthErrors(context, userId, given)));
  if (errors.length > 0) throw invalid(errors, detail);
  const refused = principal ? given.flatMap((one) => keyRefusals(one.submission, principal, one.pointer)) : [];
  const workflows = await checkWorkflows(given, { db, userId, principal }, context);
  if (workflows.errors.length > 0) throw invalid(workflows.errors, detail);
  if (refused.length + workflows.refused.length > 0) throw beyondKey([...refused, ...workflows.refused]);
  for (const [index, input] of workflows.inputs) prepared[index]!.task.input = input;
  return prepared;
}

/** Agents that are not there, not for this user, or switched off; asks only where some are named. */
async function agentErrors(db: Db, userId: string, given: Placed[]): Promise<FieldError[]> {
  const named = given.flatMap(({ submission: { agent_id }, pointer }) =>
    agent_id === undefined ? [] : [{ id: agent_id.toLowerCase(), pointer: `${pointer}/agent_id` }],
  );
  if (named.length === 0) return [];
  const active = await findActiveAgents(db, userId, [...new Set(named.map(({ id }) => id))]);
  return named.flatMap(({ id, pointer }) =>
    active.has(id) ? [] : [{ pointer, detail: 'is not the id of an active agent' }],
  );
}
