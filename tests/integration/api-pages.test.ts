import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { newTask } from '../support/tasks.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

type Page = { data: PresentedTask[]; next_cursor: string | null };

describe('pages of a list', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    client = await world.client();
  });
  afterAll(() => world.close());

  const store = async (count: number) => {
    const tasks = Array.from({ length: count }, () => newTask(client.userId, { title: 'Weekly report', tags: ['t'] }));
    await acceptTasks(world.db, tasks);
    return tasks.map(({ id }) => id);
  };

  it.each(['', 'q=week', 'tag=t&status=pending', 'type=echo'])(
    'show each task once while others come and go: %s',
    async (filter) => {
      await world.db.deleteFrom('tasks').execute();
      const there = [...(await store(900)), ...(await store(900))];
      const gone = new Set<string>();
      const seen: string[] = [];
      for (let cursor = ''; ; ) {
        const { body } = await client.request<Page>('GET', `/api/v1/tasks?limit=90&${filter}${cursor}`);
        seen.push(...body.data.map(({ id }) => id));
        if (!body.next_cursor) break;
        cursor = `&cursor=${body.next_cursor}`;
        // New ones, and some taken away of those that were shown and of those that were not, the one at the cursor included.
        await store(20);
        const taken = [body.next_cursor, there[seen.length % 700] as string, seen[seen.length - 7] as string];
        for (const id of taken) gone.add(id);
        await world.db.deleteFrom('tasks').where('id', 'in', taken).execute();
      }
      expect(new Set(seen).size).toBe(seen.length);
      expect(there.filter((id) => !gone.has(id) && !seen.includes(id))).toEqual([]);
      expect(seen.filter((id) => !there.includes(id))).toEqual([]);
      expect(seen).toEqual(seen.toSorted().reverse());
    },
  );
});
