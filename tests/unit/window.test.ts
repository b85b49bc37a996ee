import { expect, it } from 'vitest';
import { createLog } from '../../src/log.ts';
import { createWindow } from '../../src/workers/window.ts';

const ID = '01900000-0000-7000-8000-000000000001';

it('a window that is closed starts nothing more, not even what its worker was given', async () => {
  const window = createWindow({
    db: undefined as never,
    backend: { firstJobs: async () => [] },
    lane: 'llm',
    models: { outlook: () => 'loaded', room: () => 1, meet: () => true, onChange: () => () => {} },
    boundMs: 1_000,
    log: createLog('silent'),
  });
  const head = { id: ID, generation: 0, turn: 1, since: 0 };
  // Where the database says nothing, what a worker was given starts.
  expect(await window.choose(head)).toMatchObject({ id: ID });
  window.close();
  expect(await window.choose({ ...head, generation: 1 })).toBeUndefined();
});
