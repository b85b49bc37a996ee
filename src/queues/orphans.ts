import type { Db } from '../db/connect.ts';
import { findOrphans } from '../db/tasks/waiting.ts';
import { LANES, type Lane } from '../tasks/lanes.ts';
import type { QueueBackend } from './backend.ts';
import { jobId, parseJobId } from './job-id.ts';

/** Jobs that wait for nothing: their row is gone, has ended or stands in another generation. */
export interface Orphans {
  lane: Lane;
  ids: string[];
}

/** Looks through the jobs of every lane; answers a page of orphans, perhaps an empty one, for each page of jobs. */
export async function* listOrphans(db: Db, backend: QueueBackend): AsyncGenerator<Orphans, void> {
  for (const lane of LANES) {
    for await (const ids of backend.listJobs(lane)) {
      const jobs = ids.map(parseJobId).filter((job) => job !== undefined);
      // The rows are read after the jobs, and a job is added after its row: what is missing now is gone.
      yield { lane, ids: (await findOrphans(db, jobs)).map(jobId) };
    }
  }
}
