import { expect, test } from 'vitest';
import { drill } from '../drill/drill.ts';

test('a system that lost Postgres and Redis comes back from a backup: what waited runs, what had ended can be read', async () => {
  const result = await drill({ ended: 2_000, waiting: 300 }, () => {});
  expect(result.backup, result.backup.stderr).toMatchObject({ code: 0 });
  expect(result.refused.map(({ code }) => code)).toEqual([1, 1]);
  expect(result.refused[0]?.stderr).toContain('Stop the API and the workers');
  expect(result.refused[1]?.stderr).toContain('is not empty');
  expect(result.restore, result.restore.stderr).toMatchObject({ code: 0 });
  expect(result.statuses).toEqual({ completed: 2_301 });
  expect(result.endedTask.after).toEqual(result.endedTask.before);
  expect(result.endedTask.after).toMatchObject({ output: { message: 'before the loss' } });
  expect(result).toMatchObject({ sealedOpens: true, laterIsGone: true });
  expect(result.allRunMs).toBeLessThan(15 * 60_000);
}, 300_000);
