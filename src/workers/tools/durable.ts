import { createHash } from 'node:crypto';
import type { Callbacks } from '../../callbacks.ts';
import { isDatabaseAway } from '../../db/away.ts';
import type { Db } from '../../db/connect.ts';
import { findMemo, storeMemo } from '../../db/tasks/memos.ts';
import { TaskError } from '../../errors.ts';
import { cleanJson, findNotJson } from '../../tasks/clean.ts';
import type { DurableTools } from '../../tasks/durable.ts';
import { type Attempt, Parked } from '../attempt.ts';

interface Options {
  db: Db;
  callbacks: Pick<Callbacks, 'urlOf'>;
  maxOutputBytes: number;
}

const MAX_NAME = 200;
const RETRY_MS = 500;

/** The memos of a task and its waiting, as one attempt has them. */
export function durableTools(attempt: Attempt, { db, callbacks, maxOutputBytes }: Options): DurableTools {
  const { task, signal } = attempt;
  /** Parts that this attempt does or has done: two that ask for the same get the same. */
  const own = new Map<string, Promise<unknown>>();

  async function recall(name: string): Promise<{ value: unknown } | undefined> {
    return patiently(() => findMemo(db, task.id, name), signal);
  }

  /** What was done shall not be done again, so this is tried for as long as the attempt lives. */
  async function keep(name: string, kind: string, result: unknown, ms: number): Promise<unknown> {
    const wrong = findNotJson(result ?? null);
    if (wrong) throw new TaskError('invalid_output', `${name} cannot be stored: ${wrong.pointer} ${wrong.detail}.`);
    const clean = cleanJson(result ?? null);
    const value = JSON.stringify(clean);
    if (Buffer.byteLength(value) > maxOutputBytes)
      throw new TaskError(
        'output_too_large',
        `${name} has ${Buffer.byteLength(value)} bytes; at most ${maxOutputBytes} are kept.`,
      );
    const memo = { id: task.id, attempt: task.attempt, name, kind, value, ms };
    const is = await patiently(() => storeMemo(db, memo), signal);
    if (is === 'lost') {
      attempt.stop('lost');
      throw signal.reason;
    }
    return is === 'stored' ? JSON.parse(value) : (await recall(name))?.value;
  }

  async function part(name: string, work: (key: string) => Promise<unknown>, kind: string): Promise<unknown> {
    const known = await recall(name);
    if (known) return known.value;
    signal.throwIfAborted();
    const began = performance.now();
    const result = await work(keyOf(task, name));
    return keep(name, kind, result, performance.now() - began);
  }

  function memo<T>(name: string, work: (key: string) => Promise<T>, { kind = 'step' } = {}): Promise<T> {
    if (name.length > MAX_NAME) throw new Error(`the name of a memo has more than ${MAX_NAME} characters: ${name}`);
    const begun = own.get(name);
    if (begun) return begun as Promise<T>;
    const done = part(name, work, kind);
    own.set(name, done);
    done.catch(() => own.delete(name));
    return done as Promise<T>;
  }

  function park(awaiting: Parked['awaiting'], { untilSeconds }: { untilSeconds?: number } = {}): never {
    throw new Parked(awaiting, untilSeconds === undefined ? undefined : Math.max(0, untilSeconds * 1000));
  }

  return {
    memo,
    recall,
    park,
    signals: task.signals,
    callbackUrl(name) {
      const url = callbacks.urlOf({ taskId: task.id, life: task.life, name });
      if (url !== undefined) return url;
      throw new TaskError(
        'callback_unavailable',
        'Nobody could call back: the worker does not know the address of the API. An operator can set PUBLIC_URL.',
      );
    },
    async awaitCallback(name, { withinSeconds }) {
      const sent = await recall(`callback:${name}`);
      if (sent) return sent.value;
      // By the clock of whoever asked first; one that is behind parks once more for the rest.
      const until = await memo(`until:${name}`, async () => Date.now() + withinSeconds * 1000, { kind: 'wait' });
      const left = until - Date.now();
      if (left > 0) return park('callback', { untilSeconds: left / 1000 });
      throw new TaskError('callback_timeout', `Nobody called back within ${withinSeconds} seconds.`);
    },
  };
}

/** The same in every attempt of a life, another one after an explicit retry. Says nothing of the task to whoever gets it. */
export function keyOf({ id, life }: { id: string; life: number }, name: string): string {
  return createHash('sha256').update(`${id} ${life} ${name}`).digest('base64url').slice(0, 32);
}

/** Does it again for as long as the database is away and the attempt lives. */
export async function patiently<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (signal.aborted || !isDatabaseAway(error)) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}
