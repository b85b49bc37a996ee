import { sql } from 'kysely';
import { expect } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import type { Client, World } from './world.ts';

/** A schedule, as far as tests look at it. */
export interface Schedule {
  id: string;
  name: string | null;
  enabled: boolean;
  task: Record<string, unknown>;
  next_run_at: string | null;
  next_runs: string[];
  last_run_at: string | null;
  last_task_id: string | null;
  last_error: { code: string; message: string; at: string } | null;
  missed: number;
  webhook_secret?: string;
  urls: { self: string; run: string };
}

export const echo = { type: 'echo', input: { message: 'tick' } };
export const HOURLY = { every_seconds: 3_600, task: echo };

/** Short ways to work with schedules. @param client whose they are at the moment */
export function useSchedules(client: () => Client) {
  const post = (body: unknown, headers?: Record<string, string>) =>
    client().request<Schedule>('POST', '/api/v1/schedules', body, headers);
  return {
    post,
    async make(body: object = HOURLY): Promise<Schedule> {
      const { status, body: made } = await post(body);
      expect(status, JSON.stringify(made)).toBe(201);
      return made;
    },
    read: async (id: string) => (await client().request<Schedule>('GET', `/api/v1/schedules/${id}`)).body,
    patch: (id: string, body: object) => client().request<Schedule>('PATCH', `/api/v1/schedules/${id}`, body),
    tasksOf: async (id: string) =>
      (await client().request<{ data: PresentedTask[] }>('GET', '/api/v1/tasks?limit=200')).body.data.filter(
        ({ schedule_id }) => schedule_id === id,
      ),
  };
}

/** As if nobody had looked at the schedule for so long: its grid is moved with it. */
export const setBack = (db: World['db'], id: string, ms: number) =>
  sql`update schedules set starts_at = starts_at - ${ms}::float8 * interval '1 millisecond',
    next_run_at = next_run_at - ${ms}::float8 * interval '1 millisecond' where id = ${id}`.execute(db);
