import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { open } from './open.ts';
import { ROOT } from './product.ts';
import { until } from './until.ts';

const MAIN = join(ROOT, 'src', 'main.ts');
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning', MAIN];

/** A command that has ended. */
export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** A command that goes on. */
export interface Going {
  child: ChildProcess;
  stdout(): string;
  stderr(): string;
  /** Waits for a text on stdout or stderr. */
  says(text: string): Promise<void>;
  ended: Promise<Ended>;
}

interface Options {
  env?: Record<string, string>;
  /** What is on stdin; nothing where it is not given. */
  stdin?: string;
}

/**
 * Whether this machine has the `script` of util-linux, which gives a command a terminal. Every Debian has it; macOS has another
 * one that takes other arguments, and there the tests that need a terminal are left out.
 */
export const HAS_SCRIPT =
  spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout?.includes('util-linux') ?? false;
if (process.env.CI && !HAS_SCRIPT) throw new Error('no `script` of util-linux here: in CI nothing is left out');

/** What `--json` printed: a value a line. */
export const jsonLines = (text: string) =>
  text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));

/** Somebody at a shell: commands of the product, each a process, with a home of their own. */
export interface Shell {
  home: string;
  credentials(): { current?: string; logins: Record<string, Record<string, unknown>> };
  credentialsFile: string;
  /** Runs a command to its end. */
  run(args: string[], options?: Options): Promise<Ended>;
  /** Starts one. */
  start(args: string[], options?: Options): Going;
  /** Starts one in a terminal; what it writes comes together on stdout, and `child.stdin` is the keyboard. */
  inTerminal(args: string[], options?: Options): Going;
  remove(): Promise<void>;
}

/** @param env settings of all its commands, such as SUTAZAI_URL */
export function createShell(env: Record<string, string> = {}): Shell {
  const home = mkdtempSync(join(tmpdir(), 'sutazai-cli-'));
  open.add(home);
  const credentialsFile = join(home, 'config', 'sutazai', 'credentials.json');
  const around = {
    PATH: process.env.PATH ?? '',
    HOME: home,
    XDG_CONFIG_HOME: join(home, 'config'),
    DATA_DIR: join(home, 'data'),
    ...env,
  };

  function start(command: string[], { env: more, stdin }: Options, keyboard: boolean): Going {
    const [file = '', ...args] = command;
    const child = spawn(file, args, { cwd: home, env: { ...around, ...more }, stdio: ['pipe', 'pipe', 'pipe'] });
    const name = `command ${args.slice(-2).join(' ')} (${child.pid})`;
    open.add(name);
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (piece) => {
      stdout += piece;
    });
    child.stderr.setEncoding('utf8').on('data', (piece) => {
      stderr += piece;
    });
    child.stdin.on('error', () => {});
    if (!keyboard) child.stdin.end(stdin ?? '');
    const ended = new Promise<Ended>((resolve) =>
      child.once('close', (code) => {
        open.delete(name);
        resolve({ code, stdout, stderr });
      }),
    );
    const says = async (text: string) => {
      await until(`it says ${text}, and not ${stdout}${stderr}`, () => (stdout + stderr).includes(text));
    };
    return { child, stdout: () => stdout, stderr: () => stderr, says, ended };
  }

  return {
    home,
    credentialsFile,
    credentials: () => JSON.parse(readFileSync(credentialsFile, 'utf8')),
    run: (args, options = {}) => start([...NODE, ...args], options, false).ended,
    start: (args, options = {}) => start([...NODE, ...args], options, false),
    inTerminal(args, options = {}) {
      const quoted = [...NODE, ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
      return start(
        ['script', '-qfec', quoted, '/dev/null'],
        { ...options, env: { TERM: 'xterm', ...options.env } },
        true,
      );
    },
    async remove() {
      await rm(home, { recursive: true, force: true });
      open.delete(home);
    },
  };
}
