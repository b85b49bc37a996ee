import * as v from 'valibot';
import type { Db } from '../../db/connect.ts';
import type { TaskRow } from '../../db/tasks/read.ts';
import { chat, chatInput } from '../../tasks/chat.ts';
import { strictObject } from '../../tasks/schemas.ts';
import { type AnswerHeader, answers } from '../answer.ts';
import { replayed } from '../idempotency.ts';
import { beyondKey, keyRefusals, usualPriority } from '../key-limits.ts';
import { placed } from '../openai/calls.ts';
import { defineRoute, type Route, type RouteInput } from '../route.ts';
import { pendingExample, submittedTask, taskExample } from '../shapes/task.ts';
import type { StoreTasks } from '../store.ts';
import type { Follow } from '../streams/follow.ts';
import type { OpenStream, OpenStreams } from '../streams/open-streams.ts';
import { encodeEvent } from '../streams/sse.ts';
import { applyCancelAfter, type PrepareContext, parsePreferWait, prepareTask, type Submission } from '../submit.ts';
import { invalid } from '../validate.ts';
import type { Waiters } from '../waiters.ts';
import { answerHeld, storeHeld, TASK_HEADERS } from './task-answer.ts';

interface Options extends PrepareContext {
  db: Db;
  waiters: Waiters;
  store: StoreTasks;
  follow: Follow;
  streams: OpenStreams;
}

type Asked = Pick<RouteInput<unknown, unknown>, 'principal' | 'requestId' | 'header'>;

/** As long as an answer is ever held. */
const USUAL_WAIT = 'wait=55';
const HEADERS: AnswerHeader[] = [...TASK_HEADERS, 'Cache-Control', 'X-Task-Id'];
const MESSAGES = [{ role: 'user' as const, content: 'Hello!' }];
const ABOUT = {
  ...{ type: 'chat', input: { messages: MESSAGES }, tags: [], model: 'tinyllama:latest' },
  usage: { input_tokens: 7, output_tokens: 5, load_ms: 10, run_ms: 20 },
};
const OUTPUT = {
  ...{ message: { role: 'assistant', content: 'Hello! What shall we talk about?' }, done_reason: 'stop' },
  ...{ model: 'tinyllama:latest', model_reason: 'default' },
};

/** A chat in one request. */
export function chatRoutes(options: Options): Route[] {
  const { store, follow, streams } = options;

  function prepare(input: unknown, { principal, requestId, header }: Asked) {
    const submission: Submission = { type: chat.name, input, metadata: {}, tags: [] };
    const refused = keyRefusals(submission, principal, '#');
    if (refused.length > 0) throw beyondKey(refused.map((error) => placed(error, [['/type', '']])));
    const made = prepareTask(
      applyCancelAfter(submission, header('cancel-after')),
      {
        ...{ userId: principal.userId, requestId, batchId: null, watched: true, pointer: '#' },
        usualPriority: usualPriority(principal),
      },
      options,
    );
    if ('errors' in made) throw invalid(made.errors);
    return made;
  }

  return [
    defineRoute({
      method: 'POST',
      path: '/api/v1/chat',
      summary: 'Chat: a task whose end, or with `stream` whose events, are the answer',
      body: strictObject({ ...chatInput, stream: v.optional(v.boolean()) }),
      example: { messages: MESSAGES },
      headers: ['Prefer', 'Cancel-After'],
      idempotent: 'commit',
      answers: {
        200: {
          ...answers(
            'The task has ended; with `stream`, its events as `GET /api/v1/tasks/{id}/events` sends them.',
            submittedTask,
            { ...taskExample, ...ABOUT, output: OUTPUT },
            HEADERS,
          ),
          texts: { 'text/event-stream': encodeEvent('output', { attempt: 1, offset: 0, text: 'Hello' }) },
        },
        202: answers(
          'The task did not end within 55 seconds, or the time of `Prefer: wait`. It goes on.',
          submittedTask,
          { ...pendingExample, ...ABOUT, model: null, usage: null },
          HEADERS,
        ),
      },
      handle: async (asked) => {
        const { body, base, header, key, signal } = asked;
        const { stream: streamed, ...input } = body;
        const place = (task: TaskRow) => ({
          Location: `${base}/api/v1/tasks/${task.id}`,
          'X-Task-Id': task.id,
        });
        if (streamed) {
          const stream: OpenStream = streams.enter(asked);
          try {
            const { rows, again } = await store(() => [prepare(input, asked)], key);
            const answer = follow(rows[0]!, asked, { after: null, stream });
            const whole = { ...answer, headers: { ...answer.headers, ...place(rows[0]!) } };
            return again ? replayed(whole) : whole;
          } catch (error) {
            stream.leave();
            throw error;
          }
        }
        const seconds = parsePreferWait(header('prefer') ?? USUAL_WAIT) ?? 0;
        const held = await storeHeld(options, () => prepare(input, asked), { key, signal, seconds });
        return answerHeld(held, { base, seconds }, { headers: { 'X-Task-Id': held.task.id } });
      },
    }),
  ];
}
