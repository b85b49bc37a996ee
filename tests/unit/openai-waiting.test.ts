import { type DatabaseConnection, DummyDriver, Kysely, PostgresAdapter, PostgresQueryCompiler } from 'kysely';
import { describe, expect, it } from 'vitest';
import { type Calls, createCalls } from '../../src/api/openai/calls.ts';
import { chatRoutes } from '../../src/api/openai/chat.ts';
import { describeError, OpenAiError } from '../../src/api/openai/error.ts';
import type { TaskEvent } from '../../src/api/streams/events.ts';
import type { OpenStream } from '../../src/api/streams/open-streams.ts';
import { createWaiters } from '../../src/api/waiters.ts';
import type { Db } from '../../src/db/connect.ts';
import { ProblemError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { createRegistry } from '../../src/tasks/index.ts';

/** A database that answers each statement with what comes next. */
function databaseOf(next: () => object[]): Db {
  class Driver extends DummyDriver {
    override async acquireConnection(): Promise<DatabaseConnection> {
      return { executeQuery: async () => ({ rows: next() }), streamQuery: () => expect.unreachable() } as never;
    }
  }
  return new Kysely({
    dialect: {
      createAdapter: () => new PostgresAdapter(),
      createDriver: () => new Driver(),
      createQueryCompiler: () => new PostgresQueryCompiler(),
      createIntrospector: () => expect.unreachable(),
    },
  });
}

const principal = { userId: 'u', can: () => true };
const asker = (signal = new AbortController().signal) =>
  ({ principal, requestId: 'r', signal, stillGood: async () => true, holdOpen() {} }) as never;

describe('a call that waits for its task', () => {
  /** A call of which all that is said comes from the test, and how often the row was read. */
  function waiting(next: (read: number) => object[]) {
    let say: (payload: string) => void = () => {};
    const waiters = createWaiters({
      on(_: string, listener: (payload: string) => void) {
        say = listener;
        return () => {};
      },
      onConnect: () => () => {},
    } as never);
    const seen = { reads: 0, id: '' };
    const { promise: isStored, resolve: stored } = Promise.withResolvers<void>();
    const calls = createCalls({
      ...{ registry: createRegistry({ vectors: false }), box: {}, checkUrl: () => undefined, waiters },
      db: databaseOf(() => next(++seen.reads).map((row) => ({ id: seen.id, ...row }))),
      store: async (make: () => Promise<Array<{ task: { id: string } }>>) => {
        const [made] = await make();
        seen.id = made!.task.id;
        stored();
        return { rows: [{ ...made!.task, status: 'pending' }] };
      },
    } as never);
    const answer = calls.run(() => ({ type: 'echo', input: { message: 'x' } }), asker());
    return { answer, isStored, seen, end: () => say(`ended ${seen.id}`), stop: () => waiters.close() };
  }

  it('waits on while the database is away, and is answered when it is back', async () => {
    const { answer, seen, isStored, end } = waiting((read) => {
      if (read === 1) throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
      return [{ status: 'completed' }];
    });
    await isStored;
    end();
    expect(await answer).toMatchObject({ task: { status: 'completed' } });
    expect(seen.reads).toBe(2);
  });

  it('is told at once where the server stops, also while the database is away', async () => {
    const { answer, isStored, stop } = waiting(() => {
      throw Object.assign(new Error('Connection terminated'), {});
    });
    await isStored;
    stop();
    await expect(answer).rejects.toMatchObject({ code: 'temporary-reduced-capacity' });
  });
});

describe('a chat that is streamed', () => {
  it('listens to its task no more once it was answered with a status of its own', async () => {
    let listening = 0;
    async function* readEvents(): AsyncGenerator<TaskEvent, void> {
      listening++;
      try {
        yield { event: 'completed', id: '1', data: { id: 't', status: 'failed', error: null } as never };
      } finally {
        listening--;
      }
    }
    const stream = { leave() {}, endReason: () => undefined, signal: new AbortController().signal };
    const calls: Partial<Calls> = {
      submit: async () => ({ task: { id: 't', created_at: new Date() }, again: false }) as never,
      cancel: async () => expect(listening).toBe(0),
    };
    const [route] = chatRoutes({
      ...{ calls: calls as Calls, readEvents, log: createLog('silent') },
      streams: { enter: () => stream as unknown as OpenStream, close: async () => {} },
      models: { models: { list: async () => [{ name: 'm:latest', capabilities: ['completion'] }] } } as never,
      config: { models: {} } as never,
    });
    const body = { model: 'm', messages: [{ role: 'user', content: 'x' }], stream: true };
    await expect(route!.handle({ ...(asker() as object), body } as never)).rejects.toMatchObject({ status: 500 });
    expect(listening).toBe(0);
  });
});

describe('a conflict', () => {
  it('is not sent again by the official clients, but for the one that passes', () => {
    const header = (error: ProblemError | OpenAiError) => describeError(error).headers['x-should-retry'];
    expect(header(new OpenAiError(409, 'batch_ended', 'x'))).toBe('false');
    expect(header(new ProblemError('limit_reached', 'x'))).toBe('false');
    expect(header(new ProblemError('idempotency_key_in_use', 'x'))).toBeUndefined();
    expect(header(new ProblemError('temporary-reduced-capacity', 'x'))).toBeUndefined();
  });
});
