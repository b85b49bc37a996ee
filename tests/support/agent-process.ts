import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { AgentBook, AgentWay } from './agent-main.ts';
import { open } from './open.ts';

const MAIN = fileURLToPath(new URL('./agent-main.ts', import.meta.url));

/** A real agent in a process of its own; see `agent-main.ts`. */
export interface AgentProcess {
  url: string;
  book(): Promise<AgentBook>;
  be(way: AgentWay): Promise<void>;
  /** Has it call back whom it owes an answer; answers the statuses that it got. */
  callBack(): Promise<number[]>;
  close(): Promise<void>;
}

/** Starts one. */
export async function startAgentProcess(way: AgentWay): Promise<AgentProcess> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, way], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const name = `agent ${child.pid}`;
  open.add(name);
  const ended = once(child, 'close');
  const [line] = (await Promise.race([once(child.stdout, 'data'), ended])) as [unknown];
  const port = /at (\d+)/.exec(String(line))?.[1];
  if (!port) throw new Error(`the agent did not start: ${line}`);
  const url = `http://127.0.0.1:${port}`;
  const ask = async (path: string) => (await fetch(url + path)).json();
  return {
    url,
    book: async () => (await ask('/book')) as AgentBook,
    be: async (next) => void (await ask(`/way/${next}`)),
    callBack: async () => (await ask('/call-back')) as number[],
    async close() {
      child.kill('SIGKILL');
      await ended;
      open.delete(name);
    },
  };
}
