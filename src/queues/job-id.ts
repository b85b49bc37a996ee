import { isId } from '../db/ids.ts';

/** Which job of which row. */
export interface JobRef {
  id: string;
  generation: number;
}

/** The id of the job that wakes a row: another generation is another job, whatever became of the earlier ones. */
export function jobId({ id, generation }: JobRef): string {
  return `${id}_g${generation}`;
}

/** The row that a job wakes; `undefined` where the job is none of ours. */
export function parseJobId(text: string): JobRef | undefined {
  const [id = '', generation = ''] = text.split('_g');
  return isId(id) && /^\d{1,9}$/.test(generation) ? { id, generation: Number(generation) } : undefined;
}
