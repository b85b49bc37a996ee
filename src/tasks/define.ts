import type * as v from 'valibot';
import type { Lane } from './lanes.ts';
import type { Tools } from './tools.ts';

type Schema = v.GenericSchema<unknown, unknown>;

/** A kind of work. HTTP validation, JSON Schema, docs, lane options and worker dispatch derive from this one value. */
export interface TaskType<I extends Schema = Schema, O extends Schema = Schema, N extends string = string> {
  /** The word in `POST /tasks`: lower case, dots between parts. */
  name: N;
  title: string;
  /** One sentence for people who choose a type. */
  summary: string;
  lane: Lane;
  /** Checked at the door and again in the worker, because stored tasks outlive deploys. Refuses unknown fields. */
  input: I;
  /** Checked before the result is stored. */
  output: O;
  /** The route that alone makes such tasks, where it is not that for all; it says there what may be asked for. */
  route?: string;
  /** Whether it wants the vector store, as those of the lane `vector` do: it is not there where vector search is switched off. */
  vectors?: true;
  /** Fields of the input that hold URLs to call: refused at the door where they may not be called, as those of webhooks are. */
  urls?: readonly string[];
  /** The vectors that an input brings along, each with its place in it: one of a wrong length is refused at the door where that is known. */
  vectorsOf?(input: v.InferOutput<I>): { collection: string; vectors: Array<{ at: string; length: number }> };
  defaults: { attempts: number; timeoutSeconds: number; backoff: Backoff };
  /** Inputs that work as they stand on a fresh machine. */
  examples: readonly v.InferInput<I>[];
  /** Does the work. Throws `TaskError` for what it understands; anything else is retried as `internal_error`. */
  run(input: v.InferOutput<I>, tools: Tools): Promise<v.InferOutput<O>>;
}

/** Bounds of the wait before the next attempt, in milliseconds; it doubles with each failure, with full jitter. */
export interface Backoff {
  minMs: number;
  maxMs: number;
}

/** Makes a task type; only here for the types of `run`, and of the client, which knows each type by its name. */
export function defineTask<I extends Schema, O extends Schema, const N extends string>(
  type: TaskType<I, O, N>,
): TaskType<I, O, N> {
  return type;
}

/** How long to leave a dependency alone that is away: doubles with each attempt, never less than half of its bound. */
export function laterMs(backoff: Backoff, attempt: number, random: () => number = Math.random): number {
  const bound = boundMs(backoff, attempt);
  return Math.round(bound / 2 + (bound / 2) * random());
}

/** Full jitter: anywhere from nothing to the exponential bound, so that tasks which failed together do not return together. */
export function backoffMs(backoff: Backoff, failures: number, random: () => number = Math.random): number {
  return Math.round(boundMs(backoff, failures) * random());
}

function boundMs({ minMs, maxMs }: Backoff, times: number): number {
  return Math.min(maxMs, minMs * 2 ** Math.min(times - 1, 30));
}
