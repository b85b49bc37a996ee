import type { Config } from '../../config.ts';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { findRooms } from '../../db/room.ts';
import { countChosen, findSubmitter, listChosen, type Selection, type Submitter } from '../../db/tasks/bulk.ts';
import { forgetPayloads } from '../../db/tasks/forget.ts';
import { cancelTasks, retryTasks } from '../../db/tasks/steer.ts';
import type { Transition } from '../../db/tasks/transition.ts';
import { TaskError } from '../../errors.ts';
import { type Permission, permits } from '../../permissions.ts';
import { type AfterStore, tellMoved } from '../../queues/after.ts';
import type { BulkRequest, BulkStep, BulkWork, Tools } from '../../tasks/tools.ts';
import type { Attempt } from '../attempt.ts';

interface Options extends AfterStore {
  db: Db;
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

function bulkWork({ task, signal }: Attempt, { db, limits, ...after }: Options, request: BulkRequest): BulkWork {
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
    const wanted = Map.groupBy(chosen, ({ user_id }) => user_id);
    const rooms = await findRooms(db, new Map([...wanted].map(([id, own]) => [id, own.length])), limits);
    const left = new Map([...rooms].map(([id, { room }]) => [id, room]));
    return chosen.filter(({ user_id }) => {
      const room = left.get(user_id) ?? 0;
      left.set(user_id, room - 1);
      return room > 0;
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
          : await retryTasks(inside, owner, ids, task.id, by.username, after.dispatcher.full());
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
    await tellMoved(moved, after);
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
