import * as v from 'valibot';
import type { Callbacks } from '../../callbacks.ts';
import type { Db } from '../../db/connect.ts';
import { sendSignals } from '../../db/tasks/signal.ts';
import { ProblemError } from '../../errors.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import { wakesOf } from '../../queues/wakes.ts';
import { named } from '../../tasks/named.ts';
import { answers } from '../answer.ts';
import { defineRoute, type Route } from '../route.ts';
import { briefly } from './task-access.ts';

interface Options {
  db: Db;
  dispatcher: Dispatcher;
  callbacks: Callbacks;
}

const taken = named('CallbackTaken', v.strictObject({ accepted: v.literal(true) }));

/** Where agents and others send what a task waits for. */
export function callbackRoutes({ db, dispatcher, callbacks }: Options): Route[] {
  function read(token = '') {
    const callback = callbacks.read(token);
    if (callback) return callback;
    throw new ProblemError('invalid_token', 'This is no address of a callback: it is not whole, or not of this API.', {
      headers: { 'WWW-Authenticate': 'Bearer realm="sutazai", error="invalid_token"' },
    });
  }

  return [
    defineRoute({
      method: 'POST',
      path: '/api/v1/callbacks/:token',
      body: v.pipe(v.unknown(), v.description('Whatever the task waits for, as JSON.')),
      bodyOptional: true,
      example: { status: 'done' },
      summary: 'Send a task what it waits for, once, at the address that it gave out',
      // All who have an address of one task share what one user may ask for.
      signed: ({ token }) => `callback ${read(token).taskId}`,
      answers: { 202: answers('It is kept, and the task goes on with it.', taken, { accepted: true }) },
      problems: ['callback_used', 'callback_over'],
      handle: async ({ params, body }) => {
        const { taskId, life, name } = read(params.token);
        const memo = { name: `callback:${name}`, value: body };
        const [sent] = await sendSignals(db, [{ id: taskId, life, memo }]);
        if (sent?.is === 'used')
          throw new ProblemError('callback_used', 'Something was sent to this address before; that counts.');
        if (sent?.is !== 'taken')
          throw new ProblemError('callback_over', 'The task has ended, or was run again since.');
        // Where that fails, the reconciler adds the job.
        if (sent.woken) await briefly(dispatcher.enqueue(wakesOf(sent.woken)));
        return { status: 202, body: { accepted: true } };
      },
    }),
  ];
}
