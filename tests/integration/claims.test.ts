import { describe, expect, it } from 'vitest';
import { createLog } from '../../src/log.ts';
import { createClaims } from '../../src/workers/claims.ts';
import { LEASE_MS, settlement, useTasks } from '../support/tasks.ts';

const { database, running, read } = useTasks();
const claims = () =>
  createClaims({
    db: database.db,
    name: 'w',
    leaseMs: LEASE_MS,
    everybody: 0,
    agingMs: 0,
    onCalled: () => {},
    onHeld: () => {},
    onError: () => {},
    log: createLog('silent'),
  });

describe('an outcome that is too much for Postgres', () => {
  it('fails its task at once, and the others that are written with it are stored', async () => {
    const workflow = await running();
    const [deep, other] = [await running({ parent_id: workflow }), await running()];
    const levels = 100_000;
    const { settle } = claims();
    await Promise.all([
      settle(settlement(deep, 1, { output: '['.repeat(levels) + ']'.repeat(levels), follows: true })),
      settle(settlement(other, 1)),
    ]);
    expect(await read(deep)).toMatchObject({ status: 'failed', output: null, error: { code: 'internal_error' } });
    expect(await read(other)).toMatchObject({ status: 'completed' });
    // The workflow that it is a step of hears of it.
    const ends = await database.db.selectFrom('workflow_ends').select(['workflow_id', 'child_id', 'status']).execute();
    expect(ends).toEqual([{ workflow_id: workflow, child_id: deep, status: 'failed' }]);
  });
});
