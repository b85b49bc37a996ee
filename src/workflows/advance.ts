import type { Transaction } from 'kysely';
import { findRoom, type RoomLimits } from '../db/room.ts';
import { type Database, hasEnded, type StoredError } from '../db/schema.ts';
import { acceptTasks } from '../db/tasks/accept.ts';
import type { TaskRow } from '../db/tasks/read.ts';
import { signalTasks } from '../db/tasks/signal.ts';
import { stopParts } from '../db/tasks/stop.ts';
import type { Transition } from '../db/tasks/transition.ts';
import { type End, takeEnds } from '../db/workflows/ends.ts';
import { isToRestart, lockRun, type Run, saveRun } from '../db/workflows/runs.ts';
import {
  beginSteps,
  closeSteps,
  countItems,
  type EndedStep,
  endSteps,
  type ItemCount,
  listReady,
  releaseDependents,
} from '../db/workflows/steps.ts';
import { endUndos } from '../db/workflows/undo.ts';
import type { Dispatcher } from '../queues/dispatcher.ts';
import { sentence, wrong } from './children.ts';
import { type StartOptions, startSteps } from './start.ts';
import { undoNext } from './undo.ts';

type Trx = Transaction<Database>;

export interface AdvanceOptions extends StartOptions {
  /** So many tasks of a workflow wait and run at a time. */
  window: number;
  dispatcher: Pick<Dispatcher, 'receive'>;
  limits: RoomLimits;
}

/** What moving a workflow on came to, once the transaction is through. */
export interface Advanced {
  /** Tasks that want a job. */
  children: TaskRow[];
  /** Tasks that were moved by it. */
  moved: Transition[];
  /** Whether there is more to do at once. */
  more: boolean;
}

/** So many ends are reckoned with in one transaction, and so many steps begin in it: it holds up nobody for long. */
const ENDS_AT_ONCE = 500;
const STEPS_AT_ONCE = 100;
/** How soon it is looked again whether the user has room for more tasks. */
const NO_ROOM_MS = 1_000;
const NO_TOKENS_MS = 30_000;
/** How long what was left for at once is left to whoever said so. */
const LEFT_MS = 2_000;

/** Moves a workflow on by a part: reckons with what ended, begins what may begin, and wakes its task once nothing is left. */
export async function advanceOnce(trx: Trx, id: string, options: AdvanceOptions): Promise<Advanced> {
  const run = await lockRun(trx, id);
  const nothing: Advanced = { children: [], moved: [], more: false };
  // What ended before its user wanted it again is reckoned with where it begins again.
  if (run && isToRestart(run)) return nothing;
  const ends = await takeEnds(trx, id, ENDS_AT_ONCE);
  if (!run) return { ...nothing, more: ends.length === ENDS_AT_ONCE };
  if (run.phase === 'ended' && ends.length === 0) return nothing;

  const state: State = { trx, run, options, done: { ...nothing }, lookInMs: null, left: STEPS_AT_ONCE };
  await reckon(state, ends);
  // What had ended by then is what it came to, also where that is more than is reckoned with at once.
  if (hasEnded(run.status)) {
    if (ends.length < ENDS_AT_ONCE) await close(state);
  } else if (run.status !== 'cancelling') await goOn(state);
  const more = state.done.more || ends.length === ENDS_AT_ONCE;
  // Whoever is at it may die before it goes on, and it may be that nothing ends any more that would tell others.
  if (more && run.phase !== 'ended') state.lookInMs = Math.min(state.lookInMs ?? LEFT_MS, LEFT_MS);
  await saveRun(trx, run, state.lookInMs);
  return { ...state.done, more };
}

/** One part of a workflow's way, while it is being gone. */
interface State {
  trx: Trx;
  run: Run;
  options: AdvanceOptions;
  done: Advanced;
  lookInMs: number | null;
  /** How many more steps may begin in this transaction. */
  left: number;
}

/** Writes all that ended into the steps of a workflow that is to begin again: what completed is not done twice. */
export async function reckonAll(trx: Trx, run: Run): Promise<void> {
  for (let more = true; more; ) {
    const ends = await takeEnds(trx, run.id, ENDS_AT_ONCE);
    await reckon({ trx, run }, ends);
    more = ends.length === ENDS_AT_ONCE;
  }
}

/** Writes what ended into the steps. */
async function reckon(state: Pick<State, 'trx' | 'run'>, ends: End[]): Promise<void> {
  const { trx, run } = state;
  if (ends.length === 0) return;
  // Also once it has ended: a task that undid something may have been at work when it was cancelled.
  if (run.undo) run.busy -= await endUndos(trx, run.id, ends);
  const ended = await endSteps(trx, run.id, ends, goesOn(run));
  const tasks = new Set(ends.flatMap(({ child_id, step }) => (child_id === null && step !== null ? [step] : [])));
  run.busy -= ended.filter(({ step, item }) => item >= 0 || !tasks.has(step)).length;
  await follow(state, ended);
}

/** Whether steps may begin, and have failed where their task was cancelled. */
const goesOn = ({ phase, status }: Run) => phase === 'forward' && !hasEnded(status) && status !== 'cancelling';

/** What follows from the end of steps and items: others may begin, or the workflow stops. */
async function follow(state: Pick<State, 'trx' | 'run'>, ended: EndedStep[]): Promise<void> {
  const { trx, run } = state;
  const items = Map.groupBy(
    ended.filter(({ item }) => item >= 0),
    ({ step }) => step,
  );
  const counts = [...items].map(([step, all]): ItemCount => {
    const failed = all.filter(({ status }) => status === 'failed');
    for (const one of failed) if (one.on_failure !== 'continue') stop(run, one);
    return { step, ended: all.length, failed: failed.length, more: goesOn(run) };
  });
  const whole = ended.filter(({ item }) => item < 0);
  if (counts.length > 0) whole.push(...(await countItems(trx, run.id, counts)));
  run.open -= whole.length;
  for (const one of whole) if (one.status === 'failed' && one.on_failure !== 'continue') stop(run, one);
  if (run.phase === 'forward' && whole.length > 0)
    await releaseDependents(
      trx,
      run.id,
      whole.map(({ step }) => step),
    );
}

function stop(run: Run, { step, item, error, on_failure }: EndedStep): void {
  if (on_failure === 'compensate') run.undo = true;
  if (run.phase !== 'forward') return;
  run.phase = 'stopping';
  const which = item < 0 ? step : `${step}[${item}]`;
  run.error = stepFailed(which, error);
}

const stepFailed = (which: string, error: StoredError | null): StoredError =>
  wrong('step_failed', sentence(`The step ${which} failed: ${error?.code ?? 'unknown'}: ${error?.message ?? ''}`));

async function goOn(state: State): Promise<void> {
  const { trx, run, done } = state;
  while (run.phase === 'forward' && (await begin(state)));
  if (run.phase === 'forward' && run.open === 0) run.phase = 'ended';
  if (run.phase === 'stopping') {
    if (run.busy > 0) await stopAll(state, { reason: 'a step failed', waiting: true });
    else {
      await closeSteps(trx, run.id);
      run.phase = run.undo ? 'undoing' : 'ended';
    }
  }
  if (run.phase === 'undoing' && run.busy === 0) await undo(state);
  if (run.phase === 'ended') done.moved.push(...(await signalTasks(trx, [{ id: run.id }])));
}

/** Begins some of what may begin; answers whether others may begin because of that. */
async function begin(state: State): Promise<boolean> {
  const { trx, run, options, done } = state;
  const most = Math.min(state.left, options.window - run.busy);
  const ready = most > 0 ? await listReady(trx, run.id, most) : [];
  if (ready.length === 0) return false;
  const room = await roomOf(state, ready.length);
  if (room === 0) return false;
  const some = ready.slice(0, room);
  state.left -= some.length;
  const { begun, children } = await startSteps(trx, run, some, options);
  if (children.length > 0) done.children.push(...(await acceptTasks(trx, options.dispatcher.receive(children))));
  run.busy += children.length;
  await follow(state, await beginSteps(trx, run.id, begun));
  done.more = state.left === 0;
  return state.left > 0;
}

/** For how many more tasks its user has room. */
async function roomOf(state: State, wanted: number): Promise<number> {
  const { trx, run, options } = state;
  const { room, bound } = await findRoom(trx, run.user_id, wanted, options.limits);
  if (bound) state.lookInMs = bound.limit === 'tokens_per_day' ? NO_TOKENS_MS : NO_ROOM_MS;
  return room;
}

async function undo(state: State): Promise<void> {
  const { trx, run, options, done } = state;
  const child = await undoNext(trx, run, options);
  if (!child) {
    run.phase = 'ended';
    return;
  }
  done.children.push(...(await acceptTasks(trx, options.dispatcher.receive([child]))));
  run.busy += 1;
}

/** A workflow that ended before its time takes its parts along. */
async function close(state: State): Promise<void> {
  const { trx, run } = state;
  if (run.phase === 'ended') return;
  await stopAll(state, { reason: 'the workflow ended' });
  await closeSteps(trx, run.id);
  run.phase = 'ended';
}

async function stopAll({ trx, run, done }: State, stopping: { reason: string; waiting?: boolean }): Promise<void> {
  const moved = await stopParts(trx, run.id, stopping);
  done.moved.push(...moved);
  // Their ends are there already.
  done.more ||= moved.some(({ status }) => status === 'cancelled');
}
