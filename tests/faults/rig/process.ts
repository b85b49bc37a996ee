import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { endWithUs } from '../../../src/lifecycle.ts';
import { lasting } from './wait.ts';

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const MAIN = join(ROOT, 'src', 'main.ts');

/** A process of the product. */
export interface Member {
  kind: 'api' | 'worker';
  name: string;
  /** Changes with every start. */
  pid: number;
  /** Where an API listens; empty for a worker. */
  url: string;
  alive(): boolean;
  /** Sends a signal; it is expected to end it, unless it is SIGSTOP or SIGCONT. */
  signal(signal: NodeJS.Signals): void;
  /** Resolves with its code or the name of the signal when it ends. */
  ended(): Promise<number | string>;
  /** Starts it again, on the same port, after it ended; with `again` as often as it takes, while a store may be away. */
  start(options?: { again?: boolean }): Promise<void>;
  /** Exits that nobody had asked for, as sentences. */
  surprises: string[];
  /** What it has written, start by start. */
  logFile: string;
  /** Open descriptors and resident memory in bytes. */
  usage(): { descriptors: number; rss: number };
}

interface Options {
  kind: Member['kind'];
  name: string;
  folder: string;
  env: Record<string, string>;
  port: number;
  nodeArgs?: string[];
}

const SUPERVISED_MS = 60_000;

// Every process of every case that is under way listens for the exit of this one.
process.setMaxListeners(0);

/** Starts `sutazai api` or `sutazai worker` and waits until it says that it is up. */
export async function startMember({ kind, name, folder, env, port, nodeArgs = [] }: Options): Promise<Member> {
  const logFile = join(folder, `${name}.log`);
  let child: ChildProcess;
  let ended: Promise<number | string> = Promise.resolve(0);
  let expected = false;
  const surprises: string[] = [];

  /** Starts it; `again` does so until it is up, as whoever supervises it would: it refuses to start while a store is away. */
  async function start({ again = false } = {}): Promise<void> {
    const giveUp = Date.now() + SUPERVISED_MS;
    for (;;) {
      try {
        return await startOnce(again);
      } catch (error) {
        if (!again || Date.now() > giveUp) throw error;
        await lasting(1_000);
      }
    }
  }

  async function startOnce(mayFail: boolean): Promise<void> {
    expected = mayFail;
    const log = createWriteStream(logFile, { flags: 'a' });
    const args = ['--disable-warning=ExperimentalWarning', '--inspect-port=127.0.0.1:0', ...nodeArgs];
    const started = spawn(process.execPath, [...args, MAIN, kind], {
      cwd: folder,
      env: { PATH: process.env.PATH ?? '', ...env, PORT: String(port) },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child = started;
    endWithUs(started, 'SIGKILL');
    started.stdout?.pipe(log, { end: false });
    started.stderr?.pipe(log, { end: false });
    ended = new Promise((resolve) => {
      started.once('close', (code, signal) => {
        log.end();
        if (!expected) surprises.push(`${name} ended by itself with ${code ?? signal}; its log is ${logFile}`);
        resolve((code ?? signal) as number | string);
      });
    });
    await new Promise<void>((resolve, reject) => {
      let said = '';
      started.stdout?.on('data', (chunk) => {
        said += chunk;
        if (!/is up/.test(said)) return;
        if (mayFail) expected = false;
        resolve();
      });
      void ended.then((code) =>
        reject(new Error(`${name} ended with ${code} before it was up; its log is ${logFile}`)),
      );
    });
  }

  await start();
  const member: Member = {
    kind,
    name,
    get pid() {
      return child.pid as number;
    },
    url: kind === 'api' ? `http://127.0.0.1:${port}` : '',
    alive: () => child.exitCode === null && child.signalCode === null,
    signal(signal) {
      if (signal !== 'SIGSTOP' && signal !== 'SIGCONT') expected = true;
      child.kill(signal);
    },
    ended: () => ended,
    start,
    surprises,
    logFile,
    usage() {
      const pages = Number(readFileSync(`/proc/${child.pid}/statm`, 'utf8').split(' ')[1]);
      return { descriptors: readdirSync(`/proc/${child.pid}/fd`).length, rss: pages * 4096 };
    },
  };
  return member;
}
