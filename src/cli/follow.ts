import { hasEnded, type Sutazai, SutazaiError, type Task } from '../client/index.ts';
import { createBar } from './bar.ts';
import { harmless, note } from './terminal.ts';

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
 */
export async function follow(client: Sutazai, { id, status }: Task, { text }: { text: boolean }): Promise<Followed> {
  const bar = createBar();
  let interrupted = false;
  const interrupt = () => {
    bar.hide();
    if (interrupted) process.exit(INTERRUPTED);
    interrupted = true;
    note(`Cancelling ${id} … Ctrl-C again leaves it alone.`);
    client.tasks.cancel(id).catch((error: Error) => note(`It cannot be cancelled: ${error.message}`));
  };
  process.on('SIGINT', interrupt);
  try {
    return await watch(client, id, { status, text, bar, wasInterrupted: () => interrupted });
  } catch (error) {
    bar.hide();
    noteThatItGoesOn(error, id);
    throw error;
  } finally {
    process.off('SIGINT', interrupt);
    bar.close();
  }
}

/** Before the error with which following ends: what that means for the task. */
export function noteThatItGoesOn(error: unknown, id: string): void {
  if (error instanceof SutazaiError && error.status !== 404)
    note(`The task goes on without you; \`sutazai tasks watch ${id}\` follows it again.`);
}

interface Watching {
  status: string;
  text: boolean;
  bar: ReturnType<typeof createBar>;
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
export function codeOf(task: Task, interrupted = false): number {
  if (task.status === 'completed' || !hasEnded(task.status)) return 0;
  return interrupted && task.status === 'cancelled' ? INTERRUPTED : 1;
}
