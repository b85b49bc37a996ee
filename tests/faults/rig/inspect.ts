import { readFileSync } from 'node:fs';
import type { Member } from './process.ts';
import { until } from './wait.ts';

/** What a process needs among its Node arguments to be blocked from outside. */
export const INSPECTABLE = '--inspect=127.0.0.1:0';

/** Keeps the main loop of a process busy for so long, as a task that computes would: through its debugger, so that the product has no switch for it. */
export async function blockLoop(member: Member, ms: number): Promise<void> {
  const { value: url } = await until(
    'the debugger',
    () => /ws:\/\/\S+/.exec(readFileSync(member.logFile, 'utf8'))?.[0],
  );
  const socket = new WebSocket(url);
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve);
    socket.addEventListener('error', reject);
  });
  const expression = `{ const end = Date.now() + ${ms}; while (Date.now() < end); }`;
  // Its answer comes when the loop is free again, and nobody waits for that.
  socket.send(JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression } }));
  socket.addEventListener('message', () => socket.close());
}
