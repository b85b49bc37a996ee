import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { UsageError } from '../errors.ts';
import { endWithUs, nodeOptions, within } from '../lifecycle.ts';
import type { Logger } from '../log.ts';

/** A server of ours in a process of its own. */
export interface ChildServer {
  url: string;
  close(): Promise<void>;
}

type Message = { ready: true; url: string } | { error: string };

const RESTART_MS = 1_000;
/** The first start may have to prepare models. */
const START_TIMEOUT_MS = 300_000;
const STOP_TIMEOUT_MS = 1_000;

/**
 * Forks an entry file, which says over IPC where it listens. It ends when we end, however we end, and is started again on
 * the same port when it dies by itself.
 */
export async function startChild(
  name: string,
  entry: URL,
  options: Record<string, unknown>,
  log: Logger,
): Promise<ChildServer> {
  let child: ChildProcess;
  let closing = false;
  let url = '';

  function start(port: number): Promise<string> {
    child = fork(fileURLToPath(entry), [JSON.stringify({ ...options, port })], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      // Signals to our group are ours to handle: running tasks still need this server while we stop.
      detached: true,
      execArgv: nodeOptions(),
    });
    const started = child;
    // It notices by itself that we are gone, but not while it computes.
    endWithUs(started, 'SIGKILL');
    started.once('exit', (code, signal) => {
      // Before it was up once, the start itself fails.
      if (closing || started !== child || url === '') return;
      log.error({ code, signal }, `the embedded ${name} ended by itself; starting it again`);
      setTimeout(() => void restart(), RESTART_MS);
    });
    return new Promise<string>((resolve, reject) => {
      started.once('message', (message: Message) =>
        'url' in message
          ? resolve(message.url)
          : reject(new UsageError(`The embedded ${name} did not start: ${explain(message.error)}`)),
      );
      started.once('exit', (code) => reject(new UsageError(`The embedded ${name} did not start (exit code ${code}).`)));
    });
  }

  async function restart(): Promise<void> {
    if (closing) return;
    await within(start(Number(new URL(url).port)), START_TIMEOUT_MS, name).catch((error) =>
      log.error({ err: error }, `the embedded ${name} does not start again`),
    );
  }

  url = await within(start(0), START_TIMEOUT_MS, `the embedded ${name}`).catch((error) => {
    child.kill('SIGKILL');
    throw error;
  });
  return {
    url,
    async close() {
      closing = true;
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      child.disconnect();
      await within(exited, STOP_TIMEOUT_MS, name).catch(() => child.kill('SIGKILL'));
    },
  };
}

function explain(error: string): string {
  const full = /ENOSPC/.test(error)
    ? '. There is no space left on the disk: make room, or set CACHE_DIR and DATA_DIR to another one'
    : '';
  return `${error}${full}.`;
}
