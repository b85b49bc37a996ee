import * as v from 'valibot';
import { createBatch } from '../../db/batch.ts';
import type { Db } from '../../db/connect.ts';
import { isId } from '../../db/ids.ts';
import { findOwners, type TaskRow } from '../../db/tasks/read.ts';
import { type Asked, isAfter, isEventId, lookAtTasks } from '../../db/tasks/timeline.ts';
import { ProblemError } from '../../errors.ts';
import { answers, answersNothing, answersText, pageOf } from '../answer.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import { timelineEvent, timelineExample } from '../shapes/timeline.ts';
import { type Follow, showEvent } from '../streams/follow.ts';
import { encodeEvent } from '../streams/sse.ts';
import { pageQuery } from '../validate.ts';
import { noSuchTask, ownerFor, readTask } from './task-access.ts';

interface Options {
  db: Db;
  follow: Follow;
}

const MAX_OWNERS = 500;
const MAX_LOOKS = 100;

const eventId = v.pipe(v.string(), v.check(isEventId, 'must be the id of an event, such as 1893456000000000-2-1'));

/** Reading what happens to a task. */
export function eventRoutes({ db, follow }: Options): Route[] {
  // When a server stops, all its readers come at once.
  const ownerOf = createBatch<string, string | undefined>({
    run: async (ids) => {
      const owners = await findOwners(db, ids);
      return ids.map((id) => owners.get(id));
    },
    max: MAX_OWNERS,
    limit: { items: 10_000, ms: 5_000 },
  });

  const lookAt = createBatch({
    run: (asked: Asked[]) => lookAtTasks(db, asked, 1),
    max: MAX_LOOKS,
    limit: { items: 10_000, ms: 5_000 },
  });

  async function findTheirs(principal: Principal, given = ''): Promise<Pick<TaskRow, 'id' | 'user_id'>> {
    const id = given.toLowerCase();
    const user_id = isId(id) ? await ownerOf(id) : undefined;
    const mine = ownerFor(principal, 'tasks:read:any');
    if (user_id === undefined || (mine !== 'any' && mine.userId !== user_id)) throw noSuchTask();
    return { id, user_id };
  }

  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/tasks/:id/timeline',
      summary: 'Everything that happened to a task, in order',
      query: v.strictObject({ limit: pageQuery.limit, cursor: v.optional(eventId) }),
      answers: {
        200: answers('The events.', pageOf(timelineEvent), { data: timelineExample, next_cursor: null }, [
          'Cache-Control',
        ]),
      },
      handle: async ({ params, query, principal }) => {
        const task = await readTask(db, principal, params.id);
        const [look] = await lookAtTasks(db, [{ id: task.id, after: query.cursor ?? null }], query.limit + 1);
        if (!look) throw noSuchTask();
        const page = look.events.slice(0, query.limit);
        const data = page.flatMap((event) => showEvent(event, task, principal) ?? []);
        const next = look.events.length > query.limit ? (page.at(-1)?.id ?? null) : null;
        return { status: 200, body: { data, next_cursor: next }, headers: { 'Cache-Control': 'private, no-cache' } };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/tasks/:id/events',
      summary: 'Follow a task by server-sent events until it ends',
      headers: ['Last-Event-ID'],
      query: v.strictObject({ after: v.optional(eventId) }),
      answers: {
        200: answersText(
          'The events, the last of them `completed` with the final task however it ended.',
          'text/event-stream',
          encodeEvent('output', { attempt: 1, offset: 0, text: 'Once upon a time' }),
          ['Cache-Control'],
        ),
        204: answersNothing('The `Last-Event-ID` is that of the final event: there is nothing more to follow.'),
      },
      handle: async ({ params, query, principal, base, header, stillGood, hangUp }) => {
        const task = await findTheirs(principal, params.id);
        const after = lastEventId(header('last-event-id')) ?? query.after ?? null;
        if (await hasSeenAll(task.id, header('last-event-id'))) return { status: 204 };
        return follow(task, { principal, base, stillGood, hangUp }, { after });
      },
    }),
  ];

  /** A browser connects again after the final event too, unless it is told that there is nothing. */
  async function hasSeenAll(id: string, lastId: string | undefined): Promise<boolean> {
    if (!lastId) return false;
    const look = await lookAt({ id, after: lastId });
    return look?.endId != null && !isAfter(look.endId, lastId);
  }
}

function lastEventId(given: string | undefined): string | undefined {
  if (!given) return undefined;
  if (!isEventId(given))
    throw new ProblemError(
      'bad_request',
      'Last-Event-ID is not the id of an event of ours. Leave it out to start over.',
    );
  return given;
}
