import { expect, it } from 'vitest';
import type { Transition } from '../../src/db/tasks/transition.ts';
import { tellMoved } from '../../src/queues/after.ts';
import type { Wake } from '../../src/queues/dispatcher.ts';

const moved = (id: string, more: Partial<Transition>): Transition => ({
  ...{ id, user_id: 'u', type: 'echo', lane: 'system', status: 'cancelled', priority: 5, attempt: 1, generation: 0 },
  ...{ ready_at: new Date(0), queued_at: null, request_id: null, concurrency_key: null, parent_id: null },
  ...{ held_by: null, called: false, deliveries: null, ...more },
});

function listen(fails = false) {
  const heard: Record<string, string[]> = { added: [], removed: [], freed: [], advanced: [] };
  return {
    heard,
    dispatcher: {
      enqueue: async (wakes: Wake[]) => {
        if (fails) throw new Error('no queue');
        heard.added?.push(...wakes.map(({ id }) => id));
        return true;
      },
      remove: async ({ id }: { id: string }) => void heard.removed?.push(id),
    },
    places: {
      freed: async (those: Array<{ user_id: string }>) =>
        void heard.freed?.push(...those.map((one) => (one as Transition).id)),
    },
    workflows: { advance: (id: string) => void heard.advanced?.push(id) },
  };
}

it('tells lanes, places and workflows of what was stopped, of what was being stopped, and of what waits again', async () => {
  const told = listen();
  await tellMoved(
    [
      moved('waited', { deliveries: ['message'] }),
      moved('parked', { concurrency_key: 'k' }),
      moved('called', { called: true }),
      moved('step', { parent_id: 'workflow' }),
      moved('nested', { parent_id: 'workflow', type: 'workflow' }),
      moved('runs', { status: 'cancelling', concurrency_key: 'k', parent_id: 'other' }),
      moved('again', { status: 'pending' }),
    ],
    told,
    [{ ...moved('more', { status: 'pending' }), kind: 'task' }],
  );
  expect(told.heard).toEqual({
    added: ['more', 'message', 'again'],
    removed: ['waited', 'parked', 'called', 'step', 'nested'],
    freed: ['parked', 'called'],
    advanced: ['workflow', 'nested'],
  });
});

it('gives places on and moves workflows on where the queue takes nothing', async () => {
  const told = listen(true);
  await expect(
    tellMoved([moved('one', { called: true, parent_id: 'workflow', deliveries: ['m'] })], told),
  ).rejects.toThrow();
  expect(told.heard).toMatchObject({ removed: ['one'], freed: ['one'], advanced: ['workflow'] });
});
