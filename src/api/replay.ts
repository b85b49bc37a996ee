import type { Db } from '../db/connect.ts';
import type { TaskRow } from '../db/tasks/read.ts';
import { ProblemError } from '../errors.ts';
import type { SecretBox } from '../secretbox.ts';
import { agentRun } from '../tasks/agent-run.ts';
import { presentKey } from '../tasks/present.ts';
import { prepareAll } from './prepare.ts';
import type { Principal } from './route.ts';
import type { MadeTask } from './store.ts';
import type { PrepareContext, Submission } from './submit.ts';

/**
 * A new task made from one of the submitter's that ended, with another input, checked like any submission. It names its origin.
 * @throws ProblemError `validation_failed`, `forbidden`, `task_running`, `payload_deleted`
 */
export async function replayTask(
  origin: TaskRow,
  input: unknown,
  { principal, requestId }: { principal: Principal; requestId: string },
  context: PrepareContext & { db: Db },
): Promise<MadeTask> {
  if (!origin.completed_at) throw notEnded(origin);
  if (origin.payload_deleted_at) throw payloadDeleted();
  const submission = { ...submissionOf(origin, context.box), input };
  const detail = 'The task cannot be made again with this input.';
  const asked = { userId: origin.user_id, principal, requestId, usualPriority: origin.priority, detail };
  const [made] = await prepareAll([{ submission, pointer: '#' }], asked, context);
  return { task: { ...made!.task, origin_id: origin.id }, secret: undefined };
}

/** What would be submitted to get such a task again, at once and without a deadline. */
function submissionOf(task: TaskRow, box: SecretBox): Submission {
  const { type, input, title, priority, metadata, tags, timeout_ms, max_attempts, agent_id, webhook } = task;
  return {
    ...{ type, input, title: title ?? undefined, priority, metadata, tags, max_attempts },
    timeout_seconds: timeout_ms / 1000,
    // That of an agent.run is the agent that it got; the next one may get another.
    agent_id: type === agentRun.name ? undefined : (agent_id ?? undefined),
    concurrency_key: presentKey(task) ?? undefined,
    webhook: webhook
      ? ({ ...webhook, secret: box.open(Buffer.from(webhook.secret, 'base64')) } as Submission['webhook'])
      : undefined,
  };
}

/** Why a task cannot be run again, or deleted. */
export function notEnded({ status }: TaskRow): ProblemError {
  return new ProblemError('task_running', `The task is ${status}; only an ended task can be retried or deleted.`);
}

/** Why a task that has ended and has its input cannot be run again, or deleted. */
export function parentRunning({ parent_id }: TaskRow): ProblemError {
  return new ProblemError('parent_running', `The task is part of the task ${parent_id}, which has not ended.`);
}

export function payloadDeleted(): ProblemError {
  return new ProblemError('payload_deleted', 'The input of the task was deleted, so it cannot run again.');
}
