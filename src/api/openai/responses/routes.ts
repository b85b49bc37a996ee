import * as v from 'valibot';
import type { Db } from '../../../db/connect.ts';
import { hasEnded } from '../../../db/schema.ts';
import { forgetPayloads } from '../../../db/tasks/forget.ts';
import { findTask, type TaskRow } from '../../../db/tasks/read.ts';
import { ProblemError } from '../../../errors.ts';
import type { Dispatcher } from '../../../queues/dispatcher.ts';
import type { Places } from '../../../queues/places.ts';
import { cleanJson } from '../../../tasks/clean.ts';
import type { ChatAnswer, ChatRequest } from '../../../tasks/tools.ts';
import type { Workflows } from '../../../workflows/engine.ts';
import { type AnswerHeader, answers } from '../../answer.ts';
import { cancelOwnTask } from '../../cancel.ts';
import { replayed } from '../../idempotency.ts';
import { defineRoute, type Principal, type Route, type RouteInput } from '../../route.ts';
import { invalid } from '../../validate.ts';
import type { Call, Calls } from '../calls.ts';
import { toolCallsOf } from '../chat-answer.ts';
import { OpenAiError } from '../error.ts';
import { findId, noSuch, openAiId, readId } from '../ids.ts';
import { type KnownModels, requireModel } from '../models.ts';
import { errorOfTask, TASK_STATUSES } from '../task-error.ts';
import { isResponse, responseExample, responseOf, responseShape, TAGS, tagsOf } from './answer.ts';
import { encodeSent } from './events.ts';
import { RESPONSE_PLACES, type ResponseBody, responseInputOf, responseRequest } from './request.ts';
import { createResponseStreams, type StreamParts } from './stream.ts';

interface Options extends KnownModels, StreamParts {
  db: Db;
  workflows: Pick<Workflows, 'advance'>;
  calls: Calls;
  dispatcher: Dispatcher;
  places: Places;
}

const HEADERS: AnswerHeader[] = ['X-Task-Id', 'Cache-Control'];
const MADE_HEADERS: AnswerHeader[] = [...HEADERS, 'Idempotency-Replayed'];

const readQuery = v.strictObject({
  stream: v.optional(v.picklist(['true', 'false'], 'must be true or false')),
  starting_after: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d{1,15}$/, 'must be the sequence_number of an event'),
      v.metadata({ type: 'integer', minimum: 0, description: 'With `stream`: only events behind this number.' }),
      v.transform(Number),
    ),
  ),
  include_obfuscation: v.optional(v.picklist(['true', 'false'])),
});

const EVENT = encodeSent({
  is: 'event',
  data: {
    ...{ type: 'response.output_text.delta', sequence_number: 9, output_index: 0, content_index: 0, delta: 'Hello' },
    ...{ item_id: responseExample.output[0]?.id, logprobs: [] },
  },
});
const STREAM = { 'text/event-stream': EVENT };

/** Responses as OpenAI's clients ask for them: tasks that can be read, followed and cancelled later. */
export function responseRoutes(options: Options): Route[] {
  const { db, calls } = options;
  const follow = createResponseStreams(options);

  async function find(userId: string, id: string): Promise<TaskRow | undefined> {
    const task = await findTask(db, { userId }, id);
    return task && isResponse(task) ? task : undefined;
  }

  async function read(userId: string, given: string | undefined): Promise<TaskRow> {
    const task = await find(userId, readId('response', given));
    if (!task) throw noSuch('response');
    return task;
  }

  /** The conversation up to a response, without its instructions. */
  async function conversationOf(userId: string, given: string): Promise<ChatRequest['messages']> {
    const id = findId('response', given);
    const task = id && (await find(userId, id));
    const wrong = (detail: string) => invalid([{ pointer: '#/previous_response_id', detail }]);
    if (!task) throw wrong('is not a response of yours');
    if (task.status !== 'completed') throw wrong('is a response that has not completed');
    const messages = (task.input as ChatRequest).messages.slice(task.tags.includes(TAGS.instructions) ? 1 : 0);
    const { message } = task.output as ChatAnswer;
    const made = toolCallsOf(task);
    const tool_calls = made.map(({ id: call, function: called }) => ({
      id: call,
      function: { name: called.name, arguments: objectOf(called.arguments) },
    }));
    const { role, content } = message;
    return [...messages, { role, content, ...(made.length > 0 ? { tool_calls } : {}) }];
  }

  async function callOf(body: ResponseBody, principal: Principal): Promise<Call> {
    const { previous_response_id: previous } = body;
    // To go on with a conversation is to have it read out.
    if (previous && !principal.can('responses:read'))
      throw new ProblemError('forbidden', 'previous_response_id wants the permission responses:read too.');
    const before = previous ? await conversationOf(principal.userId, previous) : [];
    return {
      ...{ type: 'chat', input: responseInputOf(body, before), metadata: body.metadata ?? {} },
      places: RESPONSE_PLACES,
      tags: tagsOf(body),
    };
  }

  return [
    defineRoute({
      method: 'POST',
      path: '/v1/responses',
      summary: "Ask a model, as OpenAI's clients do it; with background, without waiting",
      body: responseRequest,
      example: { model: 'tinyllama', input: 'Hello!', background: true },
      errors: TASK_STATUSES,
      idempotent: 'commit',
      answers: {
        200: {
          ...answers('The response, or with `stream` its events.', responseShape, responseExample, MADE_HEADERS),
          texts: STREAM,
        },
      },
      handle: async (asked) => {
        const { body, principal } = asked;
        const call = async () => {
          await requireModel(options, principal, body.model, 'completion');
          return callOf(body, principal);
        };
        if (body.stream) return follow.begin(call, asked, body.background !== true);
        const done = body.background ? calls.submit(call, asked, false) : calls.run(call, asked);
        const { task, again } = await done;
        if (!body.background && task.status !== 'completed') throw errorOfTask(task);
        const headers = { 'X-Task-Id': task.id, 'Cache-Control': 'no-store' };
        const answer = { status: 200, body: responseOf(task), headers };
        return again ? replayed(answer) : answer;
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/v1/responses/:response',
      summary: 'Read a response, or follow it from an event on',
      query: readQuery,
      answers: {
        200: {
          ...answers('The response, or with `stream=true` its events.', responseShape, responseExample, HEADERS),
          texts: STREAM,
        },
      },
      handle: async (asked) => {
        const { query, params, principal } = asked;
        if (query.starting_after !== undefined && query.stream !== 'true')
          throw invalid([{ pointer: '#/starting_after', detail: 'wants stream=true' }], 'The query is not valid.');
        const task = await read(principal.userId, params.response);
        if (query.stream === 'true') return follow.resume(task, asked as Asked, query.starting_after);
        return { status: 200, body: responseOf(task), headers: { 'X-Task-Id': task.id, 'Cache-Control': 'no-store' } };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/v1/responses/:response/cancel',
      summary: 'Cancel a response',
      answers: {
        200: answers('The response as it is now; one that has ended stays so.', responseShape, responseExample),
      },
      handle: async ({ params, principal }) => {
        const task = await read(principal.userId, params.response);
        await cancelOwnTask(options, task, principal);
        return { status: 200, body: responseOf(await read(principal.userId, params.response)) };
      },
    }),
    defineRoute({
      method: 'DELETE',
      path: '/v1/responses/:response',
      summary: 'Delete a response',
      errors: [409],
      answers: {
        200: answers(
          'It is gone.',
          v.strictObject({ id: v.string(), object: v.literal('response'), deleted: v.literal(true) }),
          { id: responseExample.id, object: 'response', deleted: true },
        ),
      },
      handle: async ({ params, principal }) => {
        const task = await read(principal.userId, params.response);
        if (!hasEnded(task.status))
          throw new OpenAiError(409, 'response_running', 'The response has not ended. Cancel it first.');
        await forgetPayloads(db, { userId: principal.userId }, [task.id]);
        return { status: 200, body: { id: openAiId('response', task.id), object: 'response', deleted: true } };
      },
    }),
  ];
}

/** Arguments as hosts take them, as an object: what a model gave otherwise stands in one as the text that it is. */
function objectOf(text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return cleanJson(value) as object;
  } catch {
    // Then it is no JSON.
  }
  return { text };
}

type Asked = RouteInput<unknown, unknown>;
