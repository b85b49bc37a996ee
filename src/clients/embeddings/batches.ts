import { TaskError } from '../../errors.ts';
import { goOn, present } from '../../telemetry/tracing.ts';
import type { ModelCall } from '../model-client.ts';

/** What a caller of a model hands in. */
export type Caller = Pick<ModelCall, 'signal' | 'by' | 'onHost'>;

/** A caller's texts, or a part of them, that go to the host together. */
interface Piece<T> {
  texts: string[];
  length: number;
  caller: Caller;
  trace: ReturnType<typeof present>;
  resolve: (results: T[]) => void;
  reject: (error: unknown) => void;
  /** It was answered, or its caller has gone. */
  over: boolean;
}

interface Options<T> {
  /** Asks the host for all of the texts; answers one result a text, in order. */
  ask: (texts: string[], call: Caller) => Promise<T[]>;
  /** How many calls may be under way at once. */
  parallel: number;
}

/** What goes in one call at most; a text that is longer goes alone. */
export const MAX_TEXTS = 256;
export const MAX_CHARACTERS = 200_000;

/**
 * Group commit for one model: texts that come while a call is under way go together in the next. Nobody waits for a timer.
 * A caller with very many texts has one piece of them in line at a time, so that others come in between.
 */
export function createEmbedBatch<T>({ ask, parallel }: Options<T>) {
  let waiting: Piece<T>[] = [];
  let underWay = 0;

  /** Those that fit one call, the first of them in any case. */
  function take(): Piece<T>[] {
    waiting = waiting.filter(({ over }) => !over);
    let [texts, length, count] = [0, 0, 0];
    for (const piece of waiting) {
      texts += piece.texts.length;
      length += piece.length;
      if (count > 0 && (texts > MAX_TEXTS || length > MAX_CHARACTERS)) break;
      count++;
    }
    return waiting.splice(0, count);
  }

  async function flush(): Promise<void> {
    underWay++;
    // One turn of the event loop lets those join that came together.
    await new Promise(setImmediate);
    for (let next = take(); next.length > 0; next = take()) await run(next);
    underWay--;
  }

  async function run(given: Piece<T>[]): Promise<void> {
    const pieces = given.filter(({ over }) => !over);
    if (pieces.length === 0) return;
    const stop = new AbortController();
    // The call goes on for the others as long as there is one.
    const check = () => pieces.every(({ over }) => over) && stop.abort();
    for (const { caller } of pieces) caller.signal.addEventListener('abort', check);
    try {
      const texts = pieces.flatMap((piece) => piece.texts);
      const results = await goOn(pieces[0]?.trace, () =>
        ask(texts, {
          signal: stop.signal,
          by: [...new Set(pieces.flatMap(({ caller }) => caller.by ?? []))],
          onHost(served) {
            for (const { caller, over } of pieces) if (!over) caller.onHost?.(served);
          },
        }),
      );
      let from = 0;
      for (const piece of pieces) {
        piece.resolve(results.slice(from, from + piece.texts.length));
        from += piece.texts.length;
      }
    } catch (error) {
      const left = pieces.filter(({ over }) => !over);
      if (left.length < 2 || !mayBeOfOne(error)) for (const piece of left) piece.reject(error);
      else {
        const middle = left.length >> 1;
        await run(left.slice(0, middle));
        await run(left.slice(middle));
      }
    } finally {
      for (const { caller } of pieces) caller.signal.removeEventListener('abort', check);
    }
  }

  function add(texts: string[], caller: Caller): Promise<T[]> {
    const { signal } = caller;
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const end =
        <A extends unknown[]>(tell: (...args: A) => void) =>
        (...args: A) => {
          if (piece.over) return;
          piece.over = true;
          signal.removeEventListener('abort', aborts);
          tell(...args);
        };
      const piece: Piece<T> = {
        ...{ texts, caller, over: false, trace: present() },
        length: lengthOf(texts),
        resolve: end(resolve),
        reject: end(reject),
      };
      const aborts = () => piece.reject(signal.reason);
      signal.addEventListener('abort', aborts);
      waiting.push(piece);
      if (underWay < parallel) void flush();
    });
  }

  /** @throws what the host said to these texts alone, or the reason of the signal */
  return async function embed(texts: readonly string[], caller: Caller): Promise<T[]> {
    const results: T[] = [];
    for (const part of parts(texts)) results.push(...(await add(part, caller)));
    return results;
  };
}

const lengthOf = (texts: string[]) => texts.reduce((sum, { length }) => sum + length, 0);

function* parts(texts: readonly string[]): Generator<string[]> {
  let part: string[] = [];
  let length = 0;
  for (const text of texts) {
    if (part.length > 0 && (part.length === MAX_TEXTS || length + text.length > MAX_CHARACTERS)) {
      yield part;
      [part, length] = [[], 0];
    }
    part.push(text);
    length += text.length;
  }
  if (part.length > 0) yield part;
}

/** Whether one bad text may be to blame. What says that the host or the model is not there is so for all. */
function mayBeOfOne(error: unknown): boolean {
  if (!(error instanceof TaskError)) return true;
  return !error.later && error.outage !== 'away' && error.code !== 'model_unavailable';
}
