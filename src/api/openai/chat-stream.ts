import type { TaskRow } from '../../db/tasks/read.ts';
import { ProblemError } from '../../errors.ts';
import type { ChatAnswer } from '../../tasks/tools.ts';
import type { TaskEvent } from '../streams/events.ts';
import { completionId, finishOf, toolCallsOf, usageOf } from './chat-answer.ts';
import { describeError, OpenAiError } from './error.ts';
import { seconds } from './ids.ts';
import { errorOfTask } from './task-error.ts';

/** What a stream of a chat sends next. The last is `end` or `error`; an error can still be answered as one where nothing was sent. */
export type Sent =
  | { is: 'chunk'; data: object }
  | { is: 'idle' }
  | { is: 'end' }
  | { is: 'error'; error: ProblemError | OpenAiError };

type Cut = Extract<TaskEvent, { event: 'cut' }>['why'];

const CUTS: Record<Cut, () => ProblemError> = {
  slow: () =>
    new ProblemError(
      'quota-exceeded',
      'The text is made faster than it is read here. It is in the output of the task.',
    ),
  gone: () => new ProblemError('not_found', 'The task was deleted.'),
};

/** How an attempt ends after which the task goes on with another one. */
const GOES_ON = new Set(['retry', 'released', 'lost']);

/**
 * The events of the task of a chat as the chunks of OpenAI. What is sent is the output of the task to the letter: text that
 * was sent cannot be taken back, so when an attempt breaks off that has said something, the stream ends with an error instead
 * of going on with the text of another attempt.
 */
export async function* chunksOf(
  task: Pick<TaskRow, 'id' | 'created_at'>,
  events: AsyncIterable<TaskEvent>,
  { model, includeUsage }: { model: string; includeUsage: boolean },
): AsyncGenerator<Sent, void> {
  const chunk = (delta: object, finish_reason: string | null = null): Sent => ({
    is: 'chunk',
    data: {
      ...head(task, model),
      choices: [{ index: 0, delta, logprobs: null, finish_reason }],
      ...(includeUsage ? { usage: null } : {}),
    },
  });
  let attempt = 0;
  let sent = '';
  let begun = false;
  function* begin(): Generator<Sent> {
    if (!begun) yield chunk({ role: 'assistant', content: '', refusal: null });
    begun = true;
  }

  for await (const event of events) {
    if (event.event === 'idle') yield { is: 'idle' };
    else if (event.event === 'cut') return yield { is: 'error', error: CUTS[event.why]() };
    else if (event.event === 'output') {
      if (sent !== '' && event.data.attempt !== attempt) return yield { is: 'error', error: brokenOff(attempt) };
      attempt = event.data.attempt;
      const text = event.data.text.slice(Math.max(0, sent.length - event.data.offset));
      if (text === '') continue;
      yield* begin();
      sent += text;
      yield chunk({ content: text });
    } else if (event.event === 'completed') {
      if (event.data.status !== 'completed') return yield { is: 'error', error: errorOfTask(event.data) };
      const { content } = (event.data.output as ChatAnswer).message;
      if (!content.startsWith(sent)) return yield { is: 'error', error: brokenOff(attempt) };
      yield* begin();
      if (content.length > sent.length) yield chunk({ content: content.slice(sent.length) });
      for (const [index, call] of toolCallsOf(event.data).entries()) yield chunk({ tool_calls: [{ index, ...call }] });
      yield chunk({}, finishOf(event.data));
      if (includeUsage) yield { is: 'chunk', data: { ...head(task, model), choices: [], usage: usageOf(event.data) } };
      return yield { is: 'end' };
    } else if (event.data.type === 'attempt_ended' && sent !== '' && GOES_ON.has(event.data.data.outcome ?? ''))
      return yield { is: 'error', error: brokenOff(attempt, event.data.data.error?.message) };
  }
}

function head(task: Pick<TaskRow, 'id' | 'created_at'>, model: string) {
  return { id: completionId(task), object: 'chat.completion.chunk', created: seconds(task.created_at), model };
}

function brokenOff(attempt: number, why?: string): OpenAiError {
  return new OpenAiError(
    503,
    'attempt_broken_off',
    `The answer broke off in attempt ${attempt}${why ? `: ${why}` : '.'} What was sent cannot be taken back: send the request again.`,
  );
}

/** A chunk, or whatever else, as it goes over the wire. */
export function encodeSent(sent: Sent): string {
  switch (sent.is) {
    case 'chunk':
      return `data: ${JSON.stringify(sent.data)}\n\n`;
    case 'idle':
      return ': ping\n\n';
    case 'end':
      return 'data: [DONE]\n\n';
    case 'error':
      return `data: ${JSON.stringify(describeError(sent.error).body)}\n\n`;
  }
}
