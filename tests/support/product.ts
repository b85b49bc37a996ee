import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { open } from './open.ts';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const MAIN = join(ROOT, 'src', 'main.ts');

/** What a finished command left behind. */
export interface Finished {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** A `sutazai` process that stays. */
export interface Product {
  url: string;
  /** Everything printed so far, the log included. */
  output(): string;
  pid: number;
  /** Sends a signal and waits for the end. */
  stop(signal: NodeJS.Signals): Promise<Finished>;
}

/** A data directory of the test's own, and the environment that names it. */
export function dataFolder(): {
  dir: string;
  env: Record<string, string>;
  adminPassword(): string;
  remove(): Promise<void>;
} {
  const dir = mkdtempSync(join(tmpdir(), 'sutazai-e2e-'));
  open.add(dir);
  return {
    dir,
    // Only what a fresh shell has: no setting of the machine that runs the tests may leak in.
    env: {
      PATH: process.env.PATH ?? '',
      HOME: dir,
      DATA_DIR: dir,
      CACHE_DIR: join(ROOT, '.cache'),
      PORT: '0',
      LOG_LEVEL: 'info',
      LEASE_SECONDS: '3',
    },
    adminPassword: () => JSON.parse(readFileSync(join(dir, 'secrets.json'), 'utf8')).ADMIN_PASSWORD,
    async remove() {
      await rm(dir, { recursive: true, force: true });
      open.delete(dir);
    },
  };
}

function launch(
  args: string[],
  env: Record<string, string>,
): { child: ChildProcess; finished: Promise<Finished>; output: () => string; stdout: () => string } {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...args], {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  const finished = new Promise<Finished>((resolve) => child.once('close', (code) => resolve({ code, stdout, stderr })));
  return { child, finished, output: () => stdout + stderr, stdout: () => stdout };
}

/** Runs a command to its end. */
export function runCommand(args: string[], env: Record<string, string>): Promise<Finished> {
  return launch(args, env).finished;
}

/** Starts a command that stays, and waits until it says that it is up; `url` is empty for a worker. */
export async function startProduct(args: string[], env: Record<string, string>): Promise<Product> {
  const { child, finished, output, stdout } = launch(args, env);
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout?.on('data', () => {
      const found = /is up(?: at (\S+))?/.exec(stdout());
      if (found) resolve(found[1] ?? '');
    });
    void finished.then(({ stderr }) => reject(new Error(`it ended before it was up: ${stderr}`)));
  });
  return {
    url,
    output,
    pid: child.pid as number,
    async stop(signal) {
      child.kill(signal);
      return finished;
    },
  };
}
