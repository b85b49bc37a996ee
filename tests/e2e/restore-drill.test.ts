import { expect, test } from 'vitest';
import { drill } from '../drill/drill.ts';
import { POSTGRES_FOLDER } from '../support/debian-postgres.ts';

test.skipIf(!POSTGRES_FOLDER)(
  'a system that lost Postgres and Redis comes back from a backup: what waited runs, what had ended can be read',
  async () => {
    const { lost, refused, allRunMs } = await drill({ ended: 1_000, waiting: 100 }, () => {});
    expect(lost).toEqual([]);
    expect(refused.map(({ code }) => code)).toEqual([1, 1]);
    expect(refused[0]?.stderr).toContain('Stop the API and the workers');
    expect(refused[1]?.stderr).toContain('is not empty');
    expect(allRunMs).toBeLessThan(15 * 60_000);
  },
);
