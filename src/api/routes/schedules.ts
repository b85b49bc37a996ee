import * as v from 'valibot';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { isId, newId } from '../../db/ids.ts';
import {
  deleteSchedule,
  findSchedule,
  holdSchedule,
  insertSchedule,
  listSchedules,
  readClock,
  type ScheduleRow,
  updateSchedule,
} from '../../db/schedules.ts';
import { CATCH_UPS } from '../../db/schema.ts';
import { ProblemError } from '../../errors.ts';
import { cronProblem, zoneProblem } from '../../schedules/clock.ts';
import { presentTask } from '../../tasks/present.ts';
import { maxCharacters } from '../../tasks/schemas.ts';
import { answers, answersNothing, pageOf } from '../answer.ts';
import { replayed } from '../idempotency.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import { prepareScheduled } from '../scheduled-task.ts';
import { newSchedule, scheduleExample, schedule as scheduleShape } from '../shapes/schedule.ts';
import { pendingExample, task as taskShape } from '../shapes/task.ts';
import type { StoreTasks } from '../store.ts';
import { type PrepareContext, scheduledTask } from '../submit.ts';
import { pageQuery } from '../validate.ts';
import { checkTask, nextOf, presentSchedule, refuseToSubmit, timingOf } from './schedule-shared.ts';
import { retryAfter } from './task-access.ts';

interface Options extends PrepareContext {
  db: Db;
  store: StoreTasks;
  /** How many schedules a user may have; 0 is no limit. */
  maxSchedules: number;
}

const fields = {
  name: v.nullable(v.pipe(v.string(), v.trim(), maxCharacters(100))),
  cron: v.pipe(
    v.string(),
    maxCharacters(200),
    v.rawCheck(({ dataset, addIssue }) => {
      const message = dataset.typed ? cronProblem(dataset.value, new Date()) : undefined;
      if (message) addIssue({ message });
    }),
  ),
  every_seconds: v.pipe(
    v.number(),
    v.integer('must be a whole number'),
    v.minValue(1, 'must be at least 1'),
    v.maxValue(31_536_000, 'must be at most 31536000, a year'),
  ),
  timezone: v.pipe(
    v.string(),
    maxCharacters(64),
    v.rawCheck(({ dataset, addIssue }) => {
      const message = dataset.typed ? zoneProblem(dataset.value) : undefined;
      if (message) addIssue({ message });
    }),
  ),
  enabled: v.boolean(),
  catch_up: v.picklist(CATCH_UPS, `must be one of ${CATCH_UPS.join(', ')}`),
  task: scheduledTask,
};

const newBody = v.strictObject({
  name: v.optional(fields.name, null),
  cron: v.optional(fields.cron),
  every_seconds: v.optional(fields.every_seconds),
  timezone: v.optional(fields.timezone, 'UTC'),
  enabled: v.optional(fields.enabled, true),
  catch_up: v.optional(fields.catch_up, 'one'),
  task: fields.task,
});

const change = v.partial(v.strictObject(fields));

const NIGHTLY = {
  name: 'nightly',
  cron: '30 2 * * *',
  timezone: 'Europe/Berlin',
  task: { type: 'echo', input: { message: 'good night' }, tags: ['nightly'] },
};

const noSuchSchedule = () => new ProblemError('not_found', 'There is no such schedule.');

/** Tasks that are submitted again and again; those of the one who asks. */
export function scheduleRoutes(options: Options): Route[] {
  const { db, store, maxSchedules } = options;

  async function read(principal: Principal, id = ''): Promise<ScheduleRow> {
    const found = isId(id) ? await findSchedule(db, principal.userId, id) : undefined;
    if (!found) throw noSuchSchedule();
    return found;
  }

  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/schedules',
      summary: 'List my schedules, newest first',
      query: v.strictObject(pageQuery),
      answers: {
        200: answers('A page of schedules.', pageOf(scheduleShape), { data: [scheduleExample], next_cursor: null }),
      },
      handle: async ({ query, principal, base }) => {
        const { rows, next } = await listSchedules(db, principal.userId, query);
        return { status: 200, body: { data: rows.map((row) => presentSchedule(row, base)), next_cursor: next } };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/schedules',
      summary: 'Submit a task again and again, by cron or every so many seconds',
      body: newBody,
      example: NIGHTLY,
      idempotent: 'answer',
      answers: {
        201: answers('The schedule.', newSchedule, scheduleExample, ['Location', 'Idempotency-Replayed']),
      },
      problems: ['limit_reached'],
      handle: async ({ body, principal, base, trail }) => {
        const { task, secret } = await checkTask(body.task, principal, options);
        const now = await readClock(db);
        const timing = { ...timingOf(body), timezone: body.timezone, starts_at: now };
        const row = await db.transaction().execute(async (trx) => {
          const { name, enabled, catch_up } = body;
          const stored = await insertSchedule(
            trx,
            {
              ...{ id: newId(), user_id: principal.userId, name, enabled, catch_up },
              ...{ ...timing, ...task, next_run_at: nextOf(timing, now) },
            },
            maxSchedules,
          );
          if (stored) await insertAudit(trx, [trail.entry({ action: 'schedule.create', ...about(stored) })]);
          return stored;
        });
        if (!row)
          throw new ProblemError(
            'limit_reached',
            `You have ${maxSchedules} schedules, which is the most. Delete one first.`,
          );
        const shown = presentSchedule(row, base);
        return {
          status: 201,
          body: { ...shown, ...(secret ? { webhook_secret: secret } : {}) },
          headers: { Location: shown.urls.self },
        };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/schedules/:id',
      summary: 'Read a schedule',
      answers: { 200: answers('The schedule.', scheduleShape, scheduleExample) },
      handle: async ({ params, principal, base }) => ({
        status: 200,
        body: presentSchedule(await read(principal, params.id), base),
      }),
    }),
    defineRoute({
      method: 'PATCH',
      path: '/api/v1/schedules/:id',
      summary: 'Change a schedule, switch it off or on',
      body: change,
      example: { enabled: false },
      answers: { 200: answers('The schedule as it is now.', newSchedule, scheduleExample) },
      handle: async ({ body, params, principal, base, trail }) => {
        const before = await read(principal, params.id);
        const made = body.task && (await checkTask(body.task, principal, options));
        // Switching on is submitting too: a key does not do it for what it may not submit.
        refuseToSubmit(before.task as { type: string; priority?: number }, principal);
        const now = await readClock(db);
        const row = await db.transaction().execute(async (trx) => {
          const held = await holdSchedule(trx, principal.userId, before.id);
          if (!held) throw noSuchSchedule();
          const { cron, every_seconds, timezone, task: _, ...rest } = body;
          const another = cron !== undefined || every_seconds !== undefined || timezone !== undefined;
          const timing = {
            ...(cron !== undefined || every_seconds !== undefined ? timingOf(body) : timingOf(held)),
            ...{ timezone: timezone ?? held.timezone, starts_at: now },
          };
          const changed = await updateSchedule(trx, held.id, {
            ...rest,
            ...(another ? { ...timing, next_run_at: nextOf(timing, now) } : {}),
            ...made?.task,
          });
          const details = { changed: Object.keys(body) };
          await insertAudit(trx, [trail.entry({ action: 'schedule.update', ...about(changed, details) })]);
          return changed;
        });
        const secret = made?.secret;
        return { status: 200, body: { ...presentSchedule(row, base), ...(secret ? { webhook_secret: secret } : {}) } };
      },
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/schedules/:id',
      summary: 'Delete a schedule; its tasks stay',
      answers: { 204: answersNothing('The schedule is gone.') },
      handle: async ({ params: { id = '' }, principal, trail }) => {
        const gone =
          isId(id) &&
          (await db.transaction().execute(async (trx) => {
            const deleted = await deleteSchedule(trx, principal.userId, id);
            if (deleted) await insertAudit(trx, [trail.entry({ action: 'schedule.delete', ...about(deleted) })]);
            return deleted;
          }));
        if (!gone) throw noSuchSchedule();
        return { status: 204 };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/schedules/:id/run',
      summary: 'Start the task of a schedule now, beside its ticks',
      idempotent: 'commit',
      answers: {
        202: answers('The task.', taskShape, pendingExample, ['Location', 'Retry-After', 'Idempotency-Replayed']),
      },
      problems: ['concurrency_limit'],
      handle: async ({ params, principal, requestId, base, key }) => {
        const make = async () => {
          const row = await read(principal, params.id);
          refuseToSubmit(row.task as { type: string; priority?: number }, principal);
          return [await prepareScheduled(row, options, { principal, requestId })];
        };
        const { rows, again } = await store(make, key);
        const task = rows[0]!;
        const answer = {
          status: 202,
          body: presentTask(task, base),
          headers: { Location: `${base}/api/v1/tasks/${task.id}`, ...retryAfter(task) },
        };
        return again ? replayed(answer) : answer;
      },
    }),
  ];
}

function about({ id, name, task }: ScheduleRow, more?: object) {
  return { object: { type: 'schedule', id }, details: { name, type: task.type, ...more } };
}
