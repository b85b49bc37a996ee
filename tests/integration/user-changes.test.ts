import { expect, it } from 'vitest';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { holdAdministrators, holdUser, updateUser } from '../../src/db/user-admin.ts';
import { newTask, useTasks } from '../support/tasks.ts';

const { database } = useTasks();

it('tasks of an administrator are accepted while accounts are changed', async () => {
  await database.db.transaction().execute((trx) => updateUser(trx, database.userId, { role: 'admin' }));
  await database.db.transaction().execute(async (trx) => {
    expect(await holdAdministrators(trx)).toBe(1);
    await holdUser(trx, database.userId);
    await updateUser(trx, database.userId, { role: 'operator' });
    expect(await acceptTasks(database.db, [newTask(database.userId)])).toHaveLength(1);
  });
});
