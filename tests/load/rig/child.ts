import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../support/product.ts';

const living = new Map<number, NodeJS.Signals>();
process.once('exit', () => {
  for (const [pid, signal] of living) process.kill(pid, signal);
});

/** Lets a process not outlive this one, also where that is broken off. Answers what is to be called once it has ended. */
export function endWithUs(pid: number, signal: NodeJS.Signals = 'SIGKILL'): () => void {
  living.set(pid, signal);
  return () => void living.delete(pid);
}

/** A process of a bench. */
export interface Child {
  pid: number;
  process: ChildProcess;
  /** Resolves with the first message that has this field. */
  message<T extends object>(field: keyof T & string): Promise<T>;
  stop(): Promise<void>;
}

/**
 * Starts a file of the repository on Node, with nothing in its environment but the PATH and what is given. What it prints goes
 * into a file of the folder: reading it would cost the bench.
 */
export function startChild(
  folder: string,
  name: string,
  file: string,
  { args = [], env = {}, node = [] }: { args?: string[]; env?: Record<string, string>; node?: string[] } = {},
): Child {
  const path = join(folder, `${name}.log`);
  const output = openSync(path, 'a');
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...node, join(ROOT, file), ...args], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, HOME: folder, ...env },
    stdio: ['ignore', output, output, 'ipc'],
  });
  closeSync(output);
  const ended = endWithUs(child.pid as number);
  const exited = once(child, 'exit').finally(ended);
  let stopping = false;
  const early = exited.then(([code]) => {
    if (!stopping && code !== 0)
      console.error(
        `${name} ended by itself (${code}): ${readFileSync(path, 'utf8').split('\n').slice(-20).join('\n')}`,
      );
  });
  return {
    pid: child.pid as number,
    process: child,
    message: <T extends object>(field: keyof T & string) =>
      new Promise<T>((resolve, reject) => {
        const listen = (message: object) => {
          if (!(field in message)) return;
          child.off('message', listen);
          resolve(message as T);
        };
        child.on('message', listen);
        void early.then(() => reject(new Error(`${name} ended`)));
      }),
    async stop() {
      stopping = true;
      child.kill('SIGTERM');
      await exited;
    },
  };
}
