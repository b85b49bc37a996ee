import { expect, it } from 'vitest';
import { tellCancelled } from '../../src/api/cancel.ts';
import type { Cancelled } from '../../src/db/tasks/steer.ts';

it('the workflow of a step that was cancelled, and a workflow that was, are moved on at once', async () => {
  const moved: string[] = [];
  const parts = {
    dispatcher: { enqueue: async () => true, remove: async () => {} },
    places: { freed: async () => {} },
    workflows: { advance: (id: string) => void moved.push(id) },
  };
  const row = { concurrency_key: null, called: false, deliveries: null };
  const step = { ...row, id: 'step', type: 'echo', status: 'cancelled', parent_id: 'whole' };
  const inner = { ...row, id: 'inner', type: 'workflow', status: 'cancelled', parent_id: 'whole' };
  const held = { ...row, id: 'held', type: 'echo', status: 'cancelling', parent_id: 'other' };
  await tellCancelled({ ...step, parts: [inner, held] } as unknown as Cancelled, parts as never);
  expect(moved).toEqual(['whole', 'inner']);
});
