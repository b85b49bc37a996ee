import { TaskError } from '../../errors.ts';
import type { Usage } from '../../tasks/tools.ts';

/** How far an agent may go before it has to have answered. */
export interface Bounds {
  /** Calls of the model. */
  steps: number;
  /** Tokens that all its calls read and write. */
  tokens: number;
  /** Time that its steps take; what it waits for without a worker is not counted. */
  seconds: number;
}

/** What an agent has used of its bounds, over all attempts of its task: each step tells what it took. */
export interface Spent {
  /** Whether there is room for one more call of the model. @throws TaskError `agent_limit` */
  nextCall(): void;
  add(step: { ms: number; usage?: Usage }): void;
  tokensLeft(): number;
  usage(): Usage;
  /** Does a part of the work, and breaks it off when the time is over. @throws TaskError `agent_limit` then */
  inTime<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** @throws TaskError: the tokens are used up, before there was an answer */
  outOfTokens(): TaskError;
}

/** Begins to count. */
export function createSpent({ steps, tokens, seconds }: Bounds): Spent {
  let calls = 0;
  let ms = 0;
  let total: Usage = { input_tokens: 0, output_tokens: 0, load_ms: 0, run_ms: 0 };

  const reached = (what: string) =>
    new TaskError('agent_limit', `The agent has not answered within ${what}. Its owner can raise that.`);
  const outOfTokens = () => reached(`${tokens} tokens (max_tokens)`);
  const late = () => reached(`${seconds} seconds (max_seconds)`);
  const tokensLeft = () => tokens - total.input_tokens - total.output_tokens;

  return {
    nextCall() {
      if (calls >= steps) throw reached(`${steps} steps (max_steps)`);
      if (tokensLeft() <= 0) throw outOfTokens();
      calls++;
    },
    add(step) {
      ms += step.ms;
      if (step.usage) total = sum(total, step.usage);
    },
    tokensLeft,
    usage: () => total,
    async inTime(signal, work) {
      const left = seconds * 1_000 - ms;
      if (left <= 0) throw late();
      const clock = new AbortController();
      const timer = setTimeout(() => clock.abort(late()), left);
      const either = AbortSignal.any([signal, clock.signal]);
      try {
        // What does not hear of it is not waited for.
        return await Promise.race([work(either), end(clock.signal)]);
      } catch (error) {
        // What is broken off says so in many ways.
        throw either.aborted ? either.reason : error;
      } finally {
        clearTimeout(timer);
      }
    },
    outOfTokens,
  };
}

function end(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
}

function sum(a: Usage, b: Usage): Usage {
  return {
    input_tokens: a.input_tokens + b.input_tokens,
    output_tokens: a.output_tokens + b.output_tokens,
    load_ms: a.load_ms + b.load_ms,
    run_ms: a.run_ms + b.run_ms,
  };
}
