import { createBatch } from '../db/batch.ts';
import type { Db } from '../db/connect.ts';
import { findTasks, type TaskRow } from '../db/tasks/read.ts';

/** Rows may be large. */
const MAX_ROWS = 16;

/** Makes a function that reads a task of anybody as it is now: those who ask while others read go together in the next statement. */
export function createTaskReader(db: Db): (id: string) => Promise<TaskRow | undefined> {
  return createBatch({
    run: async (ids) => {
      const rows = new Map((await findTasks(db, ids)).map((row) => [row.id, row]));
      return ids.map((id) => rows.get(id));
    },
    max: MAX_ROWS,
    parallel: 2,
  });
}
