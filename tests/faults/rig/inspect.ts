import { readFileSync } from 'node:fs';
import type { Member } from './process.ts';
import { until } from './wait.ts';

/** What a process needs among its Node arguments to be blocked from outside. */
export const INSPECTABLE = '--inspect=127.0.0.1:0';

/** Keeps the main loop of a process busy for so long, as a task that computes would: through its debugger, so that the product has no switch for it. */
export async function blockLoop(member: Member, ms: number): Promise<void> {
  const expression = `{ const end = Date.now() + ${ms}; while (Date.now() < end); }`;
  // Its answer comes when the loop is free again, and nobody waits for that.
  void ask(await debug(member), 'Runtime.evaluate', { expression });
}

/** Has a process throw away what it does not need any more, so that what is left of its memory is what it holds. */
export async function collectGarbage(member: Member): Promise<void> {
  const { length } = readFileSync(member.logFile, 'utf8');
  // Node opens its debugger at this signal.
  process.kill(member.pid, 'SIGUSR1');
  const socket = await debug(member, length);
  await ask(socket, 'HeapProfiler.enable');
  await ask(socket, 'HeapProfiler.collectGarbage');
  socket.close();
}

/** Connects to the debugger of a process, which says in its log, from this place on, where it listens. */
async function debug(member: Member, from = 0): Promise<WebSocket> {
  const { value: url } = await until(
    'the debugger',
    () => /ws:\/\/\S+/.exec(readFileSync(member.logFile, 'utf8').slice(from))?.[0],
  );
  const socket = new WebSocket(url);
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve);
    socket.addEventListener('error', reject);
  });
  return socket;
}

/** Resolves with the answer of a debugger to one request; one at a time. */
function ask(socket: WebSocket, method: string, params: object = {}): Promise<unknown> {
  return new Promise((resolve) => {
    const hear = ({ data }: MessageEvent) => {
      if (JSON.parse(String(data)).id !== 1) return;
      socket.removeEventListener('message', hear);
      resolve(data);
    };
    socket.addEventListener('message', hear);
    socket.send(JSON.stringify({ id: 1, method, params }));
  });
}
