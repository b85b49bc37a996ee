import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { open } from './open.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** `sutazai <command>` as a process of its own. */
export interface Sutazai {
  process: ChildProcess;
  /** What it wrote so far. */
  output(): string;
  /** Resolves when it has ended, with its code or the name of the signal. */
  ended: Promise<number | string>;
  kill(signal: NodeJS.Signals): Promise<number | string>;
}

/** Starts it with nothing in its environment but the PATH and what is given. */
export function spawnSutazai(args: string[], env: Record<string, string>): Sutazai {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...args], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const name = `process ${child.pid}`;
  open.add(name);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const ended = once(child, 'close').then(([code, signal]) => {
    open.delete(name);
    return (code ?? signal) as number | string;
  });
  return {
    process: child,
    output: () => output,
    ended,
    kill(signal) {
      child.kill(signal);
      return ended;
    },
  };
}
