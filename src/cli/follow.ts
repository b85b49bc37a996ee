import { hasEnded, type Sutazai, SutazaiError, type Task } from '../client/index.ts';
import { type Bar, createBar } from './bar.ts';
import { harmless, note, sayJson } from './terminal.ts';

const INTERRUPTED = 130;

/** What became of a task that was followed. */
export interface Followed {
  task: Task;
  /** Whether its text went to stdout while it was made. */
  written: boolean;
  /** The exit code that says how it ended. */
  code: number;
}

/**
 * Shows what a task does until it has ended: its text on stdout, if that is wanted, and how it is on stderr. Ctrl-C asks the server
 * to cancel it; a second one leaves it.
 * @param named whether its type and id come first
 */
export async function follow(
  client: Sutazai,
  { id, type, status }: Task,
  { text, named = false }: { text: boolean; named?: boolean },
): Promise<Followed> {
  const bar = createBar();
  return withCancel(client, id, bar, (wasInterrupted) => {
    // Only now: Ctrl-C is heard as soon as the task is named.
    if (named) note(`${type} ${id}`);
    return watch(client, id, { status, text, bar, wasInterrupted });
  });
}

/** Prints each event of a task as JSON, and answers the exit code; Ctrl-C does what it does in {@link follow}. */
export function followJson(client: Sutazai, id: string): Promise<number> {
  return withCancel(client, id, createBar(), async (wasInterrupted) => {
    let code = 1;
    for await (const event of client.tasks.stream(id)) {
      sayJson(event);
      if (event.type === 'completed') code = codeOf(event.task, wasInterrupted());
    }
    return code;
  });
}

async function withCancel<T>(
  client: Sutazai,
  id: string,
  bar: Bar,
  work: (wasInterrupted: () => boolean) => Promise<T>,
): Promise<T> {
  let interrupted = false;
  const interrupt = () => {
    bar.hide();
    if (interrupted) process.exit(INTERRUPTED);
    interrupted = true;
    note(`Cancelling ${id} … Ctrl-C again leaves it alone.`);
    client.tasks.cancel(id).catch((error: Error) => note(`It cannot be cancelled: ${harmless(error.message)}`));
  };
  process.on('SIGINT', interrupt);
  try {
    return await work(() => interrupted);
  } catch (error) {
    bar.hide();
    if (error instanceof SutazaiError && error.status !== 404)
      note(`The task goes on without you; \`sutazai tasks watch ${id}\` follows it again.`);
    throw error;
  } finally {
    process.off('SIGINT', interrupt);
    bar.close();
  }
}

interface Watching {
  status: string;
  text: boolean;
  bar: Bar;
  wasInterrupted: () => boolean;
}

async function watch(client: Sutazai, id: string, { status, text, bar, wasInterrupted }: Watching): Promise<Followed> {
  let state = { status, percent: null as number | null, message: null as string | null };
  let attempt = 0;
  let lastWritten = '';
  // Text and bar would be in each other's way on one terminal.
  const shared = text && process.stdout.isTTY;
  bar.show(state);
  for await (const event of client.tasks.stream(id)) {
    if (event.type === 'completed') {
      bar.hide();
      if (lastWritten && !lastWritten.endsWith('\n')) process.stdout.write('\n');
      const { task } = event;
      return { task, written: lastWritten !== '', code: codeOf(task, wasInterrupted()) };
    }
    if (event.type === 'output') {
      if (!text) continue;
      if (shared) bar.hide();
      if (lastWritten && event.attempt !== attempt) {
        process.stdout.write('\n');
        note(`Attempt ${event.attempt} begins anew.`);
      }
      attempt = event.attempt;
      lastWritten = harmless(event.text) || lastWritten;
      process.stdout.write(harmless(event.text));
      continue;
    }
    const { status: next, percent = null, message = null } = event.entry;
    if (event.type === 'log') {
      bar.hide();
      note(harmless(message ?? ''));
    } else if (event.type === 'progress') state = { ...state, percent, message };
    else if (next) state = { ...state, status: next };
    if (!(shared && lastWritten)) bar.show(state);
  }
  // The stream ends with the task, or with an error.
  return { task: await client.tasks.wait(id), written: lastWritten !== '', code: 1 };
}

/** 0 for success, 130 for what Ctrl-C ended, 1 for the rest. */
function codeOf(task: Task, interrupted = false): number {
  if (task.status === 'completed' || !hasEnded(task.status)) return 0;
  return interrupted && task.status === 'cancelled' ? INTERRUPTED : 1;
}
