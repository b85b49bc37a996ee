import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import { hasEnded, type Status } from '../schema.ts';
import { isHeld } from './claim.ts';
import { TASK_CHANNEL } from './transition.ts';

/**
 * The channel on which workers publish the text of attempts while it is made: `<task> <attempt> <offset> <+ or .> <text>`,
 * with a dot where the text ends there. Offsets count UTF-16 units.
 */
export const LIVE_CHANNEL = 'sutazai_live';

/** Postgres takes less than 8,000 bytes in one notification. */
export const MAX_PAYLOAD_BYTES = 7_900;

const IDS_A_PAYLOAD = Math.floor(MAX_PAYLOAD_BYTES / 40);

/** A piece of the text of an attempt. */
export interface Piece {
  taskId: string;
  attempt: number;
  /** Where it begins in the text of its attempt. */
  offset: number;
  text: string;
  /** Whether nothing comes after it. */
  last: boolean;
}

/** Publishes pieces, in order. Each has to fit a notification: see {@link MAX_PAYLOAD_BYTES}. */
export async function publishPieces(db: Db, pieces: Piece[]): Promise<void> {
  const payloads = pieces.map((p) => `${p.taskId} ${p.attempt} ${p.offset} ${p.last ? '.' : '+'} ${p.text}`);
  await sql`select pg_notify(${LIVE_CHANNEL}, p) from unnest(${payloads}::text[]) with ordinality as u(p, n) order by n`.execute(
    db,
  );
}

/** The piece in a notification; `undefined` for anything else. */
export function parsePiece(payload: string): Piece | undefined {
  const found = /^(\S+) (\d+) (\d+) ([+.]) /.exec(payload);
  if (!found) return undefined;
  const [head, taskId = '', attempt, offset, mark] = found;
  return {
    taskId,
    attempt: Number(attempt),
    offset: Number(offset),
    last: mark === '.',
    text: payload.slice(head.length),
  };
}

/** A task whose events begin to be read, or whose reader lacks a part of the text: what it has of which attempt. */
export interface Wanted {
  id: string;
  attempt: number;
  offset: number;
}

/**
 * Marks tasks as read and asks their workers for the text after what is had. Answers for each the first attempt whose text
 * was not over before, by id; nothing for what has ended or is not there.
 */
export async function openStreams(db: Db, wanted: Wanted[]): Promise<Map<string, number>> {
  const ids = wanted.map(({ id }) => id);
  const { rows } = await sql<{ id: string; status: Status; attempt: number; held: boolean }>`
    with free as (
      select id from tasks where id = any(${ids}::uuid[]) and not streamed and completed_at is null order by id for update
    ), marked as (
      update tasks t set watched = true, streamed = true from free where t.id = free.id
    )
    select t.id, t.status, t.attempt, ${isHeld} as held, pg_notify(${TASK_CHANNEL}, ${wantOf('u')})
    from unnest(${ids}::uuid[], ${wanted.map(({ attempt }) => attempt)}::int[], ${wanted.map(({ offset }) => offset)}::int[])
      as u(id, attempt, "offset") join tasks t on t.id = u.id and t.completed_at is null`.execute(db);
  return new Map(
    rows.flatMap(({ id, status, attempt, held }) => (hasEnded(status) ? [] : [[id, held ? attempt : attempt + 1]])),
  );
}

const wantOf = (u: string) =>
  sql`format('want %s %s %s', ${sql.ref(u)}.id, ${sql.ref(u)}.attempt, ${sql.ref(u)}."offset")`;

/** Asks the workers of tasks for the text after what is had. */
export async function askForText(db: Db, wanted: Wanted[]): Promise<void> {
  const payloads = wanted.map(({ id, attempt, offset }) => `want ${id} ${attempt} ${offset}`);
  await sql`select pg_notify(${TASK_CHANNEL}, p) from unnest(${payloads}::text[]) as u(p)`.execute(db);
}

/** Tells workers that these tasks are still read: without it they stop to publish. */
export async function sayStillRead(db: Db, ids: string[]): Promise<void> {
  const payloads: string[] = [];
  for (let at = 0; at < ids.length; at += IDS_A_PAYLOAD)
    payloads.push(`read ${ids.slice(at, at + IDS_A_PAYLOAD).join(' ')}`);
  await sql`select pg_notify(${TASK_CHANNEL}, p) from unnest(${payloads}::text[]) as u(p)`.execute(db);
}
