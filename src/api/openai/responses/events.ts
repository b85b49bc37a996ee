import type { TaskRow } from '../../../db/tasks/read.ts';
import { ProblemError } from '../../../errors.ts';
import type { ChatAnswer } from '../../../tasks/tools.ts';
import type { TaskEvent } from '../../streams/events.ts';
import { describeError, OpenAiError } from '../error.ts';
import { messageOf, type OutputItem, outputOf, responseOf, statusOf, textPart } from './answer.ts';

/** What a stream of a response sends next; after `end` nothing comes. */
export type Sent = { is: 'event'; data: { type: string; sequence_number: number } } | { is: 'idle' } | { is: 'end' };

/**
 * The numbers of events follow from what they say, so that any process can go on behind any of them, and nobody has to
 * remember what was sent: text that was made up to a place has always the same number, however it was cut into events.
 * Numbers grow, but not by one.
 */
const CREATED = 0;
const QUEUED = 1;
const IN_PROGRESS = 2;
/** Of an attempt, behind the attempts before it: the text that ends at `n` has the number `TEXT + n`. */
const ITEM = 3;
const PART = 4;
const TEXT = 4;
/** Larger than any text. */
const ATTEMPT = 2 ** 28;

const baseOf = (attempt: number) => Math.max(0, attempt - 1) * ATTEMPT;

interface Options {
  /** Only what comes behind this number; all where it is not given. */
  after: number | undefined;
  /** Reads the task as it is now. */
  read: () => Promise<TaskRow | undefined>;
  /** What is said where the task is not read to its end; nothing where the stream just ends. */
  broken: () => ProblemError | undefined;
}

/** The events of the task of a response, from a number on to its end. */
export async function* eventsOf(
  events: AsyncIterable<TaskEvent>,
  { after = -1, read, broken }: Options,
): AsyncGenerator<Sent, void> {
  let last = after;
  const event = (sequence_number: number, type: string, data: object): Sent[] => {
    if (sequence_number <= last) return [];
    last = sequence_number;
    return [{ is: 'event', data: { type, sequence_number, ...data } }];
  };
  const failed = (error: ProblemError | OpenAiError): Sent[] => {
    const { code, message, param } = describeError(error).body.error;
    return [{ is: 'event', data: { type: 'error', sequence_number: Math.max(0, last), ...{ code, message, param } } }];
  };

  const task = await read();
  if (!task) return yield* failed(new ProblemError('not_found', 'There is no such response.'));
  // What it was at its beginning, whenever that is read.
  const begun = { ...task, status: 'pending', output: null, error: null, completed_at: null, usage: null } as TaskRow;
  yield* event(CREATED, 'response.created', { response: responseOf(begun) });
  if (task.status === 'pending' || task.status === 'scheduled')
    yield* event(QUEUED, 'response.queued', { response: responseOf(begun) });
  const running = { ...begun, status: 'running' } as TaskRow;
  const atWork = () => event(IN_PROGRESS, 'response.in_progress', { response: responseOf(running) });

  /** What was read of the text of an attempt, from where this stream begins in it. */
  let reading = { attempt: 0, from: 0, text: '' };
  const turnTo = (attempt: number) => {
    if (reading.attempt !== attempt) reading = { attempt, from: Math.max(0, last - baseOf(attempt) - TEXT), text: '' };
  };
  function* opening(attempt: number): Generator<Sent> {
    const at = { output_index: baseOf(attempt) / ATTEMPT };
    yield* event(baseOf(attempt) + ITEM, 'response.output_item.added', {
      ...at,
      item: messageOf(running, attempt, undefined, 'in_progress'),
    });
    const item_id = messageOf(running, attempt, undefined, 'in_progress').id;
    yield* event(baseOf(attempt) + PART, 'response.content_part.added', {
      ...{ item_id, ...at, content_index: 0, part: textPart('') },
    });
  }
  function* more(attempt: number, text: string): Generator<Sent> {
    if (text === '') return;
    yield* opening(attempt);
    const item_id = messageOf(running, attempt, undefined, 'in_progress').id;
    reading.text += text;
    yield* event(baseOf(attempt) + TEXT + reading.from + reading.text.length, 'response.output_text.delta', {
      ...{ item_id, output_index: baseOf(attempt) / ATTEMPT, content_index: 0, delta: text, logprobs: [] },
    });
  }

  for await (const one of events) {
    if (one.event === 'idle') yield { is: 'idle' };
    else if (one.event === 'cut')
      return yield* failed(
        one.why === 'slow'
          ? new ProblemError(
              'quota-exceeded',
              'The text is made faster than it is read here. Go on behind the last event.',
            )
          : new ProblemError('not_found', 'The response was deleted.'),
      );
    else if (one.event === 'output') {
      const { attempt, offset, text } = one.data;
      turnTo(attempt);
      yield* atWork();
      yield* more(attempt, text.slice(Math.max(0, reading.from + reading.text.length - offset)));
    } else if (one.event === 'completed') {
      const done = one.data;
      if (done.attempt > 0) yield* atWork();
      if (done.status === 'completed') {
        turnTo(done.attempt);
        const { content } = (done.output as ChatAnswer).message;
        const [message] = outputOf(done);
        if (!content.startsWith(reading.text, reading.from))
          return yield* failed(
            new OpenAiError(503, 'text_changed', 'The text is not what was sent. Read the response.'),
          );
        if (message?.type === 'message') yield* opening(done.attempt);
        yield* more(done.attempt, content.slice(reading.from + reading.text.length));
      }
      yield* closing(done, event);
      return yield { is: 'end' };
    } else if (one.data.type === 'started') yield* atWork();
  }
  const error = broken();
  if (error) yield* failed(error);
}

/** The events behind the text of a response that has ended. */
function* closing(
  task: TaskRow,
  event: (sequence_number: number, type: string, data: object) => Sent[],
): Generator<Sent> {
  const response = responseOf(task);
  const type = `response.${statusOf(task)}`;
  // What an attempt said that came to nothing is kept nowhere, so this number cannot tell of its length.
  if (task.status !== 'completed')
    return yield* event(Math.max(1, task.attempt) * ATTEMPT + IN_PROGRESS, type, { response });
  const { content } = (task.output as ChatAnswer).message;
  let number = baseOf(task.attempt) + TEXT + content.length;
  let output_index = baseOf(task.attempt) / ATTEMPT;
  for (const item of response.output) {
    if (item.type === 'message') {
      const at = { item_id: item.id, output_index, content_index: 0 };
      yield* event(number + 1, 'response.output_text.done', { ...at, text: content, logprobs: [] });
      yield* event(number + 2, 'response.content_part.done', { ...at, part: textPart(content) });
      yield* event(number + 3, 'response.output_item.done', { output_index, item });
      number += 3;
    } else yield* calling(item, output_index, number, event);
    if (item.type === 'function_call') number += 4;
    output_index++;
  }
  yield* event(number + 1, type, { response });
}

function* calling(
  item: OutputItem & { type: 'function_call' },
  output_index: number,
  number: number,
  event: (sequence_number: number, type: string, data: object) => Sent[],
): Generator<Sent> {
  const at = { item_id: item.id, output_index };
  const begun = { ...item, arguments: '', status: 'in_progress' };
  yield* event(number + 1, 'response.output_item.added', { output_index, item: begun });
  yield* event(number + 2, 'response.function_call_arguments.delta', { ...at, delta: item.arguments });
  const { name, arguments: all } = item;
  yield* event(number + 3, 'response.function_call_arguments.done', { ...at, name, arguments: all });
  yield* event(number + 4, 'response.output_item.done', { output_index, item });
}

/** An event, or whatever else, as it goes over the wire. */
export function encodeSent(sent: Sent): string {
  if (sent.is === 'idle') return ': ping\n\n';
  return sent.is === 'end' ? '' : `event: ${sent.data.type}\ndata: ${JSON.stringify(sent.data)}\n\n`;
}
