import type { Db } from '../../src/db/connect.ts';
import type { QueueBackend } from '../../src/queues/backend.ts';
import { jobId } from '../../src/queues/job-id.ts';
import { listOrphans } from '../../src/queues/orphans.ts';
import { createWalk } from '../../src/queues/walk.ts';

/** What rows and jobs do not agree on, as ids of jobs; both lists are empty where all is well. */
export interface Disagreement {
  /** Rows wait for these jobs, and they are not there or have ended. */
  lacking: string[];
  /** These jobs wait for nothing. */
  orphaned: string[];
}

/** Compares every waiting row with its job and every waiting job with its row. */
export async function compareRowsAndJobs(db: Db, backend: QueueBackend): Promise<Disagreement> {
  const found: Disagreement = { lacking: [], orphaned: [] };
  const walk = createWalk(db, { agingMs: 0, quietMs: 0, page: 500 });
  for (let rows = await walk.read(); rows.length > 0; walk.advance(), rows = await walk.read()) {
    for (const [lane, own] of Map.groupBy(rows, (row) => row.lane)) {
      const ids = own.map(jobId);
      const states = await backend.jobStates(lane, ids);
      found.lacking.push(...ids.filter((_, index) => states[index] !== 'live'));
    }
  }
  for await (const { ids } of listOrphans(db, backend)) found.orphaned.push(...ids);
  return found;
}
