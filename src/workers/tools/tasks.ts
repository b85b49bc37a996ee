import type { Config } from '../../config.ts';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { findUsed } from '../../db/limits.ts';
import { countChosen, findSubmitter, listChosen, type Selection, type Submitter } from '../../db/tasks/bulk.ts';
import { forgetPayloads } from '../../db/tasks/forget.ts';
import { cancelTasks, retryTasks } from '../../db/tasks/steer.ts';
import type { Transition } from '../../db/tasks/transition.ts';
import { findLimitsOf } from '../../db/user-admin.ts';
import { TaskError } from '../../errors.ts';
import { type Permission, permits } from '../../permissions.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import type { Places } from '../../queues/places.ts';
import { wakesOf } from '../../queues/wakes.ts';
import type { BulkRequest, BulkStep, BulkWork, Tools } from '../../tasks/tools.ts';
import { moveOnAfter } from '../../workflows/after.ts';
import type { Workflows } from '../../workflows/engine.ts';
import type { Attempt } from '../attempt.ts';

interface Options {
  db: Db;
  dispatcher: Dispatcher;
  places: Places;
  workflows: Pick<Workflows, 'advance'>;
  limits: Config['limits']['user'];
}

type Chosen = Awaited<ReturnType<typeof listChosen>>;

const PAGE = 500;
const MAX_COUNTED = 100_000;
/** After each page it rests for as long as that took, so that it has half of a connection at most. */
const MAX_REST_MS = 1_000;

/** Other tasks, as an attempt may steer them. */
export function taskTools(attempt: Attempt, options: Options): Tools['tasks'] {
  return { bulk: (request) => bulkWork(attempt, options, request) };
}

function bulkWork(
  { task, signal }: Attempt,
  { db, dispatcher, places, workflows, limits }: Options,
  request: BulkRequest,
): BulkWork {
  const { action, filter } = request;
  const ownId = (request.owner ?? task.user_id).toLowerCase();
  const owner: Selection['owner'] = ownId === 'any' ? 'any' : { userId: ownId };
  let before = task.id;

  /** Asked before each page: what somebody may can change while it runs. */
  async function submitter(): Promise<Submitter> {
    const found = await findSubmitter(db, task.user_id, request.key_id ?? null);
    const needed: Permission = action === 'delete' ? 'tasks:delete' : 'tasks:steer';
    const all: Permission[] = ownId === task.user_id ? [needed] : [needed, `${needed}:any`];
    const missing = all.find((one) => !found || !permits(found.role, found.scopes ?? undefined, one));
    if (found && missing === undefined) return found;
    throw new TaskError('forbidden', `Whoever asked for this may not do it any more; it wants ${missing}.`);
  }

  const selection = (may: Submitter, from: string): Selection => ({
    action,
    owner,
    filter,
    before: from,
    bulk: task.id,
    may,
  });

  /** Those that their users have room for; running again is waiting again. */
  async function withRoom(chosen: Chosen): Promise<Chosen> {
    const users = [...new Set(chosen.map(({ user_id }) => user_id))];
    const own = await findLimitsOf(db, users);
    const most = users.map((id) => ({ ...limits, ...withoutNull(own.get(id) ?? {}) }));
    const asked = users.map((userId, n) => ({ userId, upTo: most[n]?.waiting_tasks ?? 0 }));
    const used = await findUsed(db, asked);
    const room = new Map(
      users.map((id, n) => {
        const { waiting_tasks, tokens_per_day } = most[n] ?? limits;
        const spent = tokens_per_day > 0 && (used[n]?.tokens ?? 0) >= tokens_per_day;
        const free = waiting_tasks > 0 ? waiting_tasks - (used[n]?.waiting ?? 0) : Number.POSITIVE_INFINITY;
        return [id, spent ? 0 : free];
      }),
    );
    return chosen.filter(({ user_id }) => {
      const left = room.get(user_id) ?? 0;
      room.set(user_id, left - 1);
      return left > 0;
    });
  }

  /** Changes the tasks; with those of others, the audit log is written in the same transaction. */
  async function change(chosen: Chosen, by: Submitter): Promise<{ ids: string[]; moved: Transition[] }> {
    const ids = chosen.map(({ id }) => id);
    const act = async (inside: Db) => {
      if (action === 'delete') return { ids: await forgetPayloads(inside, owner, ids, 0), moved: [] };
      const moved =
        action === 'cancel'
          ? await cancelTasks(inside, owner, ids, `by ${by.username}`.slice(0, 40), by.username)
          : await retryTasks(inside, owner, ids, task.id, by.username, dispatcher.full());
      // With a task go its parts, which nobody chose.
      return { ids: moved.flatMap(({ id }) => (ids.includes(id) ? [id] : [])), moved };
    };
    if (ownId === task.user_id) return act(db);
    return db.transaction().execute(async (trx) => {
      const changed = await act(trx);
      const [last, first] = [changed.ids.toSorted().at(-1), changed.ids.toSorted()[0]];
      const details = { action, owner: ownId, changed: changed.ids.length, first, last };
      if (first !== undefined) await insertAudit(trx, [{ ...entryOf(by), details }]);
      return changed;
    });
  }

  const entryOf = ({ username }: Submitter) => ({
    ...{ actor_id: task.user_id, actor_name: username, key_id: request.key_id ?? null, action: 'task.bulk' },
    ...{ outcome: 'ok' as const, object_type: 'task', object_id: task.id, address: null, request_id: task.request_id },
  });

  async function steer(chosen: Chosen, by: Submitter): Promise<BulkStep> {
    const fitting = action === 'retry' ? await withRoom(chosen) : chosen;
    const { ids, moved } = await change(fitting, by);
    moveOnAfter(moved, workflows);
    await dispatcher.enqueue(moved.flatMap(wakesOf));
    await Promise.all(moved.filter(({ status }) => status === 'cancelled').map((one) => dispatcher.remove(one)));
    // A parked one had the place of its key.
    const called = moved.filter((one) => one.called || (one.status === 'cancelled' && one.concurrency_key !== null));
    if (called.length > 0) await places.freed(called);
    const matched = chosen.length;
    return { matched, changed: ids.length, skipped: fitting.length - ids.length, failed: matched - fitting.length };
  }

  return {
    count: async () => countChosen(db, selection(await submitter(), task.id), MAX_COUNTED),
    async next() {
      signal.throwIfAborted();
      const began = Date.now();
      const by = await submitter();
      const chosen = await listChosen(db, selection(by, before), PAGE);
      const last = chosen.at(-1);
      if (!last) return undefined;
      before = last.id;
      const step = await steer(chosen, by);
      await new Promise((resolve) => setTimeout(resolve, Math.min(Date.now() - began, MAX_REST_MS)));
      return step;
    },
  };
}

function withoutNull<T extends object>(given: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null)) as never;
}
