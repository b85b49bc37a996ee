import { Worker } from 'node:worker_threads';
import { nodeOptions } from '../lifecycle.ts';
import { listenError } from '../listening.ts';
import type { Logger } from '../log.ts';
import type { ThreadData, ToMain, ToThread } from './thread.ts';

/** `/healthz` and what else is asked of a process, on a port of its own, answered by a thread that no busy main loop holds up. */
export interface HealthServer {
  /** Where it listens, such as `http://127.0.0.1:3001`. */
  url: string;
  close(): Promise<void>;
}

/** An answer that the main thread gives. */
export interface HealthAnswer {
  status: number;
  /** The content type. */
  type: string;
  body: string;
}

interface Options {
  host: string;
  port: number;
  /** What is wrong with this process although its loop turns, one sentence each; `/healthz` fails with them. */
  problems: () => string[];
  /** Answers the other paths, in the main thread; `undefined` where there is no such path. */
  answer: (path: string) => Promise<HealthAnswer | undefined>;
  log: Logger;
  /** After how long without a turn the main loop counts as stuck. */
  stalledMs?: number;
}

const NO_SUCH_PATH: HealthAnswer = { status: 404, type: 'application/json', body: '{"status":"no such path"}' };
const BEAT_MS = 500;
const STALLED_MS = 10_000;

/** Starts it. @throws UsageError when the port cannot be opened, naming the variable to change */
export async function startHealthServer({
  host,
  port,
  problems,
  answer,
  log,
  stalledMs = STALLED_MS,
}: Options): Promise<HealthServer> {
  const beats = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  const count = new Int32Array(beats);
  const data: ThreadData = { host, port, beats, stalledMs };
  const thread = new Worker(new URL('./thread.ts', import.meta.url), {
    name: 'health',
    workerData: data,
    env: {},
    execArgv: nodeOptions(),
    resourceLimits: { maxOldGenerationSizeMb: 32 },
  });
  thread.unref();
  const tell = (message: ToThread) => thread.postMessage(message);

  async function answerTo(id: number, path: string): Promise<void> {
    try {
      tell({ answer: id, ...((await answer(path)) ?? NO_SUCH_PATH) });
    } catch (error) {
      log.error({ err: error, path }, 'the health port could not be answered');
      tell({ answer: id, status: 500, type: 'application/json', body: '{"status":"internal_error"}' });
    }
  }

  let closing = false;
  const actual = await new Promise<number>((resolve, reject) => {
    thread.on('message', (message: ToMain) => {
      if ('listening' in message) resolve(message.listening);
      else if ('failed' in message) reject(listenError(message.failed, { server: 'health', host, port }));
      else void answerTo(message.ask, message.path);
    });
    let why: unknown;
    thread.on('error', (error) => {
      why = error;
      reject(error);
    });
    thread.on('exit', () => {
      if (!closing)
        log.error({ err: why }, 'the thread of the health port ended by itself; nobody answers there any more');
    });
  }).catch(async (error) => {
    closing = true;
    await thread.terminate();
    throw error;
  });

  let told = '[]';
  const beat = setInterval(() => {
    Atomics.add(count, 0, 1);
    const now = problems();
    if (JSON.stringify(now) === told) return;
    told = JSON.stringify(now);
    tell({ problems: now });
  }, BEAT_MS);
  beat.unref();
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${actual}`,
    async close() {
      closing = true;
      clearInterval(beat);
      await thread.terminate();
    },
  };
}
