import { Agent, get, type IncomingMessage } from 'node:http';

/** Many readers of event streams, each on a connection of its own. */
export interface Readers {
  /** How many have got their first bytes, and their final event. */
  begun(): number;
  finished(): number;
  /** UTF-16 units of text that came, over all. */
  units(): number;
  /** What went wrong, a line each. */
  wrong: string[];
  close(): void;
}

/** Opens one for each of the tasks. @param ids may name a task many times */
export function openReaders(url: string, token: string, ids: string[]): Readers {
  const agent = new Agent({ keepAlive: false, maxSockets: Number.POSITIVE_INFINITY });
  const open = new Set<IncomingMessage>();
  const wrong: string[] = [];
  let begun = 0;
  let finished = 0;
  let units = 0;

  function read(answer: IncomingMessage): void {
    if (answer.statusCode !== 200) wrong.push(`an answer of ${answer.statusCode}`);
    open.add(answer);
    let rest = '';
    let position = 0;
    answer.once('data', () => begun++);
    answer.setEncoding('utf8');
    answer.on('data', (chunk: string) => {
      const events = (rest + chunk).split('\n\n');
      rest = events.pop() ?? '';
      for (const event of events) {
        if (event.includes('event: completed')) finished++;
        if (!event.includes('event: output')) continue;
        const { offset, text } = JSON.parse(/^data: (.*)$/m.exec(event)?.[1] ?? '') as { offset: number; text: string };
        if (offset !== position) wrong.push(`text at ${offset} after ${position} units`);
        position = offset + text.length;
        units += text.length;
      }
    });
    answer.on('error', () => {});
    answer.on('close', () => open.delete(answer));
  }

  for (const id of ids) {
    const request = get(
      `${url}/api/v1/tasks/${id}/events`,
      { agent, headers: { authorization: `Bearer ${token}` } },
      read,
    );
    request.on('error', (error) => wrong.push(error.message));
  }
  return {
    begun: () => begun,
    finished: () => finished,
    units: () => units,
    wrong,
    close() {
      for (const answer of open) answer.destroy();
      agent.destroy();
    },
  };
}
