import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { TaskError } from '../errors.ts';
import { nodeOptions } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { Chunk, ChunkOptions } from './chunk.ts';
import type { About } from './kinds.ts';

/** What a document is cut into. */
export interface Cut {
  contentType: string;
  /** As the document itself says it. */
  title: string | null;
  chunks: Chunk[];
}

export interface ToChild {
  about: About;
  bytes: Uint8Array;
  options: ChunkOptions;
}

export type FromChild = ({ is: 'read' } & Cut) | { is: 'unreadable'; why: string } | { is: 'failed'; why: string };

/** Reads documents in processes of their own, because a file may be made to take all memory, or for ever. */
export interface DocumentReader {
  /** @throws TaskError `document_unreadable`, or the reason of the signal */
  read(job: ToChild, signal: AbortSignal): Promise<Cut>;
  /**
   * Waits for its turn first, so that not everything that waits is held in memory.
   * @throws TaskError `document_busy`, to come back later, where none comes for a while: others want the place of who waits
   */
  turn<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T>;
  close(): void;
}

interface Options {
  log: Logger;
  /** How many documents are read at a time. */
  processes?: number;
  maxMs?: number;
  /** How long a turn is waited for. */
  turnMs?: number;
  maxMegabytes?: number;
}

const ENTRY = new URL('./child.ts', import.meta.url);
const HEAP_PART = 0.6;
/** A process that has nothing to do is kept so long, because its start is what takes longest with a small document. */
const IDLE_MS = 15_000;

/** Makes the reader. The first document starts the first process. */
export function createDocumentReader({
  log,
  processes = 2,
  maxMs = 120_000,
  turnMs = 10_000,
  maxMegabytes = 1_024,
}: Options): DocumentReader {
  const idle = new Map<ChildProcess, NodeJS.Timeout>();
  const working = new Set<ChildProcess>();
  const waiting: Array<() => void> = [];
  let turns = 0;

  function start(): ChildProcess {
    const child = fork(fileURLToPath(ENTRY), [`${maxMegabytes}`], {
      // What it reads is not to be trusted: it gets none of our settings, and with them no secret.
      env: {},
      execArgv: [...nodeOptions(), `--max-old-space-size=${Math.round(maxMegabytes * HEAP_PART)}`],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      serialization: 'advanced',
    });
    child.on('error', (error) => log.warn({ err: error }, 'a process that reads documents has trouble'));
    child.once('exit', () => {
      clearTimeout(idle.get(child));
      idle.delete(child);
    });
    return child;
  }

  function rest(child: ChildProcess): void {
    // It does not keep us from ending.
    child.unref();
    child.channel?.unref();
    idle.set(child, setTimeout(() => child.kill('SIGKILL'), IDLE_MS).unref());
  }

  function take(): ChildProcess {
    const kept = [...idle.keys()].at(-1);
    if (!kept) return start();
    clearTimeout(idle.get(kept));
    idle.delete(kept);
    kept.ref();
    kept.channel?.ref();
    return kept;
  }

  async function ask(child: ChildProcess, job: ToChild, signal: AbortSignal): Promise<FromChild> {
    let over: (() => void) | undefined;
    try {
      const answer = await new Promise<FromChild>((resolve, reject) => {
        const late = setTimeout(() => reject(unreadable(`Reading it takes longer than ${maxMs / 1000} s.`)), maxMs);
        const abort = () => reject(signal.reason);
        const onExit = (code: number | null, by: NodeJS.Signals | null) => reject(ended(code, by));
        over = () => {
          clearTimeout(late);
          signal.removeEventListener('abort', abort);
          child.off('exit', onExit);
          child.off('message', resolve);
        };
        signal.addEventListener('abort', abort, { once: true });
        child.once('exit', onExit);
        child.once('message', resolve);
        child.send(job, (error) => error && reject(ended(null, null)));
      });
      rest(child);
      return answer;
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    } finally {
      over?.();
    }
  }

  return {
    async read(job, signal) {
      signal.throwIfAborted();
      const child = take();
      working.add(child);
      const answer = await ask(child, job, signal).finally(() => working.delete(child));
      if (answer.is === 'read') return answer;
      if (answer.is === 'unreadable') throw unreadable(answer.why);
      throw new Error(`a document could not be read: ${answer.why}`);
    },
    async turn(signal, work) {
      const late = AbortSignal.timeout(turnMs);
      const over = AbortSignal.any([signal, late]);
      while (turns >= processes) {
        signal.throwIfAborted();
        if (late.aborted) throw busy();
        await new Promise<void>((resolve) => {
          waiting.push(resolve);
          over.addEventListener('abort', () => resolve(), { once: true });
        });
      }
      signal.throwIfAborted();
      turns++;
      try {
        return await work();
      } finally {
        turns--;
        for (const resolve of waiting.splice(0)) resolve();
      }
    },
    close() {
      for (const child of [...idle.keys(), ...working]) child.kill('SIGKILL');
    },
  };
}

function busy(): TaskError {
  return new TaskError('document_busy', 'Other documents are being read, which takes long.', { later: true });
}

function unreadable(why: string): TaskError {
  return new TaskError('document_unreadable', why);
}

/** V8 aborts where its heap is full, and the watch ends it where all of its memory is. */
function ended(code: number | null, signal: NodeJS.Signals | null): TaskError {
  if (signal === 'SIGUSR2' || signal === 'SIGABRT' || code === 134)
    return unreadable('Reading it takes more memory than a document may.');
  return new TaskError('document_unreadable', 'The process that read it ended.', { retryable: true });
}
