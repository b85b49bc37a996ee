import { expect, test } from 'vitest';
import { drill } from '../drill/drill.ts';
import { POSTGRES_FOLDER } from '../support/debian-postgres.ts';
import { memoryOrDisk } from '../support/memory.ts';

test.skipIf(!POSTGRES_FOLDER)(
  'a system that lost Postgres and Redis comes back from a backup: what waited runs, what had ended can be read',
  async () => {
    const parent = await memoryOrDisk(2 ** 30);
    const { lost, allRunMs } = await drill({ ended: 1_000, waiting: 100, parent }, () => {});
    expect(lost).toEqual([]);
    expect(allRunMs).toBeLessThan(15 * 60_000);
  },
);
