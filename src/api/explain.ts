import { canonicalName } from '../clients/model-names.ts';
import type { Db } from '../db/connect.ts';
import { findRoom, type RoomLimits } from '../db/room.ts';
import { type Awaiting, hasEnded } from '../db/schema.ts';
import { BY_LANE } from '../db/tasks/backlog.ts';
import type { TaskRow } from '../db/tasks/read.ts';
import { findSurroundings, type Surroundings } from '../db/tasks/standing.ts';
import { hasReadySteps } from '../db/workflows/graph.ts';
import { expectStart } from '../queues/expected.ts';
import { findPlace, isInLine, type Place } from '../queues/place.ts';
import type { Explanation } from './shapes/explanation.ts';

interface Options {
  /** The limit of running tasks of those who have none of their own; 0 is none. */
  everybody: number;
  /** How much waiting a class of priority is worth. */
  agingMs: number;
  /** What bounds how many tasks a workflow may begin. */
  limits: RoomLimits;
}

type Reason = NonNullable<Explanation['reason']>;
type Because = { reason: Reason; detail: string };

/** Why a task waits, for how long about, and what can be done. */
export async function explainTask(
  db: Db,
  task: TaskRow,
  { everybody, agingMs, limits }: Options,
): Promise<Explanation> {
  const { status } = task;
  const nothing = { status, position: null, position_is_exact: null, expected_start: null, not_before: null };
  if (status === 'running' && task.awaiting) {
    const bound = task.awaiting === 'steps' ? await boundOf(db, task, limits) : undefined;
    return { ...nothing, ...(bound ?? outsideOf(task, task.awaiting)) };
  }
  if (status !== 'pending' && status !== 'scheduled') return { ...nothing, reason: null, detail: restOf(task) };

  const now = new Date();
  const [around, place] = await Promise.all([findSurroundings(db, task, everybody), findPlace(db, task, agingMs)]);
  const { reason, detail } = because(task, around, place);
  const slots = around.workers.reduce((sum, { work }) => sum + work.concurrency, 0);
  const running = around.workers.reduce((sum, { work }) => sum + work.running, 0);
  const moves = reason === 'ahead_in_queue' || reason === 'model_loading';
  const pace = { slots, running, recent: around.recent ?? undefined, long: around.long ?? undefined };
  return {
    status,
    position: place?.position ?? null,
    position_is_exact: place?.exact ?? null,
    expected_start: (moves && place && expectStart(place.position, pace, now)) || null,
    not_before: task.ready_at > now ? task.ready_at : null,
    reason,
    detail,
  };
}

/** The one reason that binds: of several, the one that would still hold the task back without the others. */
function because(task: TaskRow, around: Surroundings, place: Place | undefined): Because {
  const { lane } = task;
  return (
    laterOf(task) ??
    (around.paused
      ? {
          reason: 'queue_paused',
          detail: `The queue ${lane} is paused: it accepts tasks and starts none. An operator can resume it.`,
        }
      : undefined) ??
    (around.workers.length === 0 && !around.busy
      ? {
          reason: 'no_worker',
          detail: `No worker process serves the queue ${lane} now. It starts when one does: an operator can look at the workers.`,
        }
      : undefined) ??
    downOf(task, around) ??
    heldOf(task, around) ??
    loadingOf(task, around, place) ??
    aheadOf(task, place)
  );
}

/** A task that is not due: because its user wanted it so, or because an attempt did not succeed. */
function laterOf(task: TaskRow): Because | undefined {
  const { ready_at, error, attempt, max_attempts, failures } = task;
  // What is called from a line of those held back, or was just stored, is due by any clock.
  if ((task.held_by !== null && task.held_by !== BY_LANE) || ready_at.getTime() <= Date.now()) return undefined;
  const at = ready_at.toISOString();
  if (attempt === 0 || !error)
    return { reason: 'scheduled', detail: `It was submitted to start later: not before ${at}.` };
  if (error.code === 'upstream_unavailable')
    return {
      reason: 'dependency_down',
      detail: `What it needs did not answer or asked to wait, so it is tried again at ${at}. ${error.message}`,
    };
  if (error.code === 'upstream_rate_limited')
    return {
      reason: 'rate_limited',
      detail: `What it needs takes no more calls for now, so it is tried again at ${at}. ${error.message}`,
    };
  if (error.code === 'agent_busy')
    return { reason: 'concurrency_limit', detail: `${error.message} It asks for a place again at ${at}.` };
  return {
    reason: 'scheduled',
    detail: `Attempt ${attempt} did not succeed (${error.code}), so it is tried again at ${at}; ${failures} of ${max_attempts} failures are used up.`,
  };
}

/** What lanes need, and the model that a task names. Only where no worker gets through it is what binds. */
function downOf({ lane, input }: TaskRow, { workers }: Surroundings): Because | undefined {
  const model = modelOf(input);
  const needed = lane === 'vector' ? 'qdrant' : lane === 'llm' || lane === 'embed' ? 'ollama' : undefined;
  const isDown = (named: string | null) =>
    workers.length > 0 &&
    workers.every(({ down }) => down.some((one) => one.dependency === needed && one.model === named));
  const what = needed === 'qdrant' ? 'The vector store' : 'The model host';
  if (needed && isDown(null))
    return {
      reason: 'dependency_down',
      detail: `${what} keeps failing and is left alone for a moment; it is asked again by itself. An operator can look at it.`,
    };
  if (model && isDown(model))
    return {
      reason: 'dependency_down',
      detail: `The model ${model} keeps failing on its host. Another model may work; an operator can look at the host.`,
    };
  return undefined;
}

/** Limits of how many may run: of the user, or of the concurrency key. */
function heldOf(task: TaskRow, { user_limit, user_running }: Surroundings): Because | undefined {
  const held = task.held_by !== null && task.held_by !== BY_LANE && !task.called;
  if (held && task.held_by !== 'user')
    return {
      reason: 'concurrency_limit',
      detail: `As many tasks with the concurrency key ${task.concurrency_key} run as may (${task.concurrency_limit ?? 1}). It starts when one of them ends.`,
    };
  if (held || (user_limit > 0 && user_running >= user_limit))
    return {
      reason: 'user_limit',
      detail: `${user_running} tasks of its user run, and at most ${user_limit} may at a time. It starts when one of them ends; an administrator can raise the limit.`,
    };
  return undefined;
}

/** A model that is on its way into memory, where the task is next and would use it. */
function loadingOf(task: TaskRow, { workers }: Surroundings, place: Place | undefined): Because | undefined {
  const slots = workers.reduce((sum, { work }) => sum + work.concurrency, 0);
  const running = workers.reduce((sum, { work }) => sum + work.running, 0);
  if (!['llm', 'embed'].includes(task.lane) || !place || running < slots || place.position > slots) return undefined;
  const model = modelOf(task.input);
  const loading = workers
    .flatMap((worker) => worker.loading)
    .find((one) => (model ? one.model === model : !one.requested));
  return (
    loading && {
      reason: 'model_loading',
      detail: `The model ${loading.model} is being loaded for tasks before it, which can take minutes the first time.`,
    }
  );
}

function aheadOf(task: TaskRow, place: Place | undefined): Because {
  const ahead = place && place.position - 1;
  const detail =
    !isInLine(task) || ahead === undefined
      ? 'Other tasks are before it in the queue.'
      : ahead === 0
        ? task.lane === 'llm'
          ? 'It is next: a worker takes it as soon as one has room. Tasks whose model is in memory may go before it for a while.'
          : 'It is next: a worker takes it as soon as one has room.'
        : `${place?.exact ? ahead : `About ${ahead}`} ${ahead === 1 ? 'task is' : 'tasks are'} before it in the queue ${task.lane}. A lower priority number goes first; waiting makes up for it.`;
  return { reason: 'ahead_in_queue', detail };
}

function modelOf(input: unknown): string | undefined {
  const model = (input as { model?: unknown } | null)?.model;
  return typeof model === 'string' ? canonicalName(model) : undefined;
}

const OUTSIDE: Record<Awaiting, string> = {
  callback: 'It has asked somebody outside, who calls back',
  steps: 'Its steps are at work, each as a task of its own; GET /api/v1/tasks?parent_id= shows them',
  approval: 'Somebody has to approve it, or to reject it',
};

/** What a parked task waits for. */
function outsideOf({ id, awaiting_until: until }: TaskRow, awaiting: Awaiting): Because {
  const bound = until ? ` It is waited for until ${until.toISOString()}.` : '';
  const what = OUTSIDE[awaiting].replace('parent_id=', `parent_id=${id}`);
  return { reason: `awaiting_${awaiting}`, detail: `${what}. It holds no slot of a worker meanwhile.${bound}` };
}

/** Why no steps of a workflow begin that could, where its user has no room for their tasks. */
async function boundOf(db: Db, { id, user_id }: TaskRow, limits: RoomLimits): Promise<Because | undefined> {
  if (!(await hasReadySteps(db, id))) return undefined;
  const { room, bound } = await findRoom(db, user_id, 1, limits);
  if (room > 0 || !bound) return undefined;
  const { limit, used, most } = bound;
  const detail =
    limit === 'waiting_tasks'
      ? `${used} tasks of its user wait, and at most ${most} may (the limit waiting_tasks). Its next steps begin as others start; an administrator can raise the limit.`
      : `Its user has used ${used} tokens today, and may use ${most} (the limit tokens_per_day). Its next steps begin tomorrow, by UTC; an administrator can raise the limit.`;
  return { reason: 'user_limit', detail };
}

/** What is to be said of a task that does not wait. */
function restOf({ status, started_at, error, cancel_reason, id }: TaskRow): string {
  if (status === 'running') return `It runs since ${started_at?.toISOString() ?? 'a moment ago'}.`;
  if (status === 'cancelling') return 'It is being cancelled; its worker was told.';
  const again = hasEnded(status) ? ` POST /api/v1/tasks/${id}/retry runs it again.` : '';
  if (status === 'failed') return `It failed: ${error?.message ?? 'no reason is known'}${again}`;
  if (status === 'cancelled' && cancel_reason === 'deadline')
    return `Its deadline came after it was started, so it was cancelled.${again}`;
  if (status === 'cancelled') return `It was cancelled${cancel_reason ? `, ${cancel_reason}` : ''}.${again}`;
  if (status === 'expired') return `It was not started before its deadline.${again}`;
  return 'It is completed.';
}
