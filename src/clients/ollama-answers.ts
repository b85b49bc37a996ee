import { errorMessage, TaskError } from '../errors.ts';
import type { Usage } from '../tasks/tools.ts';
import type { UpstreamRefusal } from './upstream.ts';

/** Ollama says it by status 400, some versions by 500, and each in words of its own; there is nothing else to know it by. */
export function isTooLong(error: UpstreamRefusal): boolean {
  return /(?:exceeds?|longer than)\b.*\bcontext (?:length|size)/.test(error.message);
}

/** What such a task fails with, for good. */
export function tooLong(model: string, error: UpstreamRefusal): TaskError {
  return new TaskError(
    'context_exceeded',
    `The text is longer than the context of ${model}: shorten or split it, or give chat and generate a larger options.num_ctx. The model host says: ${errorMessage(error).slice(0, 500)}`,
    { cause: error },
  );
}

/** Adds up what was answered. @throws TaskError when it is more than `maxBytes` */
export function counter(maxBytes = Number.POSITIVE_INFINITY): (text: string) => void {
  let bytes = 0;
  return (text) => {
    bytes += Buffer.byteLength(text);
    if (bytes > maxBytes) throw new TaskError('output_too_large', `The answer has more than ${maxBytes} bytes.`);
  };
}

/** The text of tool calls. @throws TaskError for what nests so deep that it cannot be written */
export function jsonOf(toolCalls: unknown): string {
  try {
    return JSON.stringify(toolCalls);
  } catch (error) {
    const message = `The tool calls of the model cannot be stored: ${errorMessage(error)}`;
    throw new TaskError('invalid_output', message, { cause: error });
  }
}

type Timed = { prompt_eval_count?: number; eval_count?: number; load_duration?: number; total_duration?: number };

/** Ollama counts in nanoseconds. What is not a number is not believed. */
export function usageOf(last: Timed | undefined): Usage {
  const number = (given: unknown) => (typeof given === 'number' && Number.isFinite(given) ? given : 0);
  const ms = (nanoseconds: number) => Math.round(nanoseconds / 1e6);
  return {
    input_tokens: number(last?.prompt_eval_count),
    output_tokens: number(last?.eval_count),
    load_ms: ms(number(last?.load_duration)),
    run_ms: ms(number(last?.total_duration) - number(last?.load_duration)),
  };
}
