import { canonicalName } from '../../clients/model-names.ts';
import type { Logger } from '../../log.ts';
import { type AnswerHeader, answers } from '../answer.ts';
import { replayed } from '../idempotency.ts';
import { defineRoute, type Route, type RouteAnswer, type RouteInput } from '../route.ts';
import type { ReadEvents } from '../streams/events.ts';
import type { OpenStreams } from '../streams/open-streams.ts';
import { SSE_HEADERS, streamBody } from '../streams/sse.ts';
import { type Call, type Called, type Calls, GONE, type MakeCall } from './calls.ts';
import { completion, completionExample, completionOf } from './chat-answer.ts';
import { CHAT_PLACES, chatInputOf, chatRequest } from './chat-request.ts';
import { chunksOf, encodeSent, type Sent } from './chat-stream.ts';
import { type KnownModels, requireModel } from './models.ts';
import { endedBy, reasonOf } from './stream-end.ts';
import { errorOfTask, TASK_STATUSES } from './task-error.ts';

interface Options extends KnownModels {
  calls: Calls;
  readEvents: ReadEvents;
  streams: OpenStreams;
  log: Logger;
}

type Asked = RouteInput<unknown, unknown>;

/** A stream that says nothing for so long says at least that it is there; until then an error can have a status of its own. */
const PING_MS = 10_000;
const HEADERS: AnswerHeader[] = ['X-Task-Id', 'Cache-Control', 'Idempotency-Replayed'];

/** Chats as OpenAI's clients ask for them. */
export function chatRoutes(options: Options): Route[] {
  const { calls, readEvents, streams, log } = options;

  async function streamed(
    call: MakeCall,
    model: () => string,
    includeUsage: boolean,
    asked: Asked,
  ): Promise<RouteAnswer> {
    // Before the task: who may open no stream makes none.
    const stream = streams.enter(asked);
    let called: Called;
    try {
      called = await calls.submit(call, asked, true);
    } catch (error) {
      stream.leave();
      throw error;
    }
    const { task, again } = called;
    asked.signal.addEventListener('abort', stream.leave, { once: true });
    const events = readEvents(task.id, { after: null, text: true, idleMs: PING_MS, signal: stream.signal });
    const sent = chunksOf(task, events, { model: model(), includeUsage });
    const next = async (): Promise<Sent> =>
      (await sent.next()).value ?? { is: 'error', error: endedBy(stream, asked.signal) };
    const giveUp = () => calls.cancel(task, asked, reasonOf(stream));
    let first: Sent | undefined;
    try {
      asked.holdOpen();
      first = await next();
      if (first.is === 'error') throw first.error;
    } catch (error) {
      stream.leave();
      // Or it would listen to the task for ever.
      await sent.return();
      await giveUp();
      throw error;
    }
    const body = streamBody({
      stream,
      async next() {
        const one = first ?? (await next());
        first = undefined;
        if (one.is === 'idle') await stream.check();
        // Before the reader hears of it: it may send the same request again.
        if (one.is === 'error') await giveUp();
        return { chunk: encodeSent(one), done: one.is === 'end' || one.is === 'error' };
      },
      async close(cancelled) {
        await sent.return();
        if (cancelled) await calls.cancel(task, asked, GONE);
      },
      onError(error) {
        log.error({ err: error, task_id: task.id }, 'the stream of a chat broke off');
        void giveUp();
      },
    });
    const answer = { status: 200, stream: body, headers: { ...SSE_HEADERS, 'X-Task-Id': task.id } };
    return again ? replayed(answer) : answer;
  }

  return [
    defineRoute({
      method: 'POST',
      path: '/v1/chat/completions',
      summary: "Continue a conversation, as OpenAI's clients ask for it",
      body: chatRequest,
      example: { model: 'tinyllama', messages: [{ role: 'user', content: 'Hello!' }] },
      errors: TASK_STATUSES,
      idempotent: 'commit',
      answers: {
        200: {
          ...answers('The answer, or with `stream` its chunks.', completion, completionExample, HEADERS),
          texts: { 'text/event-stream': encodeSent({ is: 'chunk', data: CHUNK }) },
        },
      },
      handle: async (asked) => {
        const { body } = asked;
        let model = canonicalName(body.model);
        const metadata = { ...body.metadata, ...(body.user ? { user: body.user } : {}) };
        const call = async (): Promise<Call> => {
          model = await requireModel(options, asked.principal, body.model, 'completion');
          return { type: 'chat', input: chatInputOf(body), metadata, places: CHAT_PLACES };
        };
        if (body.stream) return streamed(call, () => model, body.stream_options?.include_usage ?? false, asked);
        const { task, again } = await calls.run(call, asked);
        if (task.status !== 'completed') throw errorOfTask(task);
        const headers = { 'X-Task-Id': task.id, 'Cache-Control': 'no-store' };
        const answer = { status: 200, body: completionOf(task), headers };
        return again ? replayed(answer) : answer;
      },
    }),
  ];
}

const CHUNK = {
  id: completionExample.id,
  object: 'chat.completion.chunk',
  created: completionExample.created,
  model: completionExample.model,
  choices: [{ index: 0, delta: { content: 'Hello' }, logprobs: null, finish_reason: null }],
};
