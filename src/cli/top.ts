import type { Command } from 'commander';
import type { QueueInfo, Sutazai, WorkerInfo } from '../client/index.ts';
import { queueTable } from './catalogue.ts';
import { act, type Context } from './context.ts';
import { explain } from './failures.ts';
import { readNumber } from './flags.ts';
import { duration, paint, say, table } from './terminal.ts';

interface Look {
  at: number;
  queues: QueueInfo[];
  workers: WorkerInfo[];
}

const SCREEN = {
  open: '\x1b[?1049h\x1b[?25l',
  close: '\x1b[?25h\x1b[?1049l',
  home: '\x1b[H',
  clearLine: '\x1b[K',
  clearBelow: '\x1b[J',
};

/** `top`: what goes on, again and again. */
export function topCommand(program: Command, context: Context): void {
  program
    .command('top')
    .description('queues, running tasks and rates, live (for operators); q or Ctrl-C ends it')
    .option('--every <seconds>', 'how often it looks', readNumber, 1)
    .addHelpText('after', '\nWhere stdout is no terminal it is printed once.\n\nExample:\n  sutazai top --every 5')
    .action(
      act(context, async ({ every }: { every: number }) => {
        const client = context.client();
        const first = await look(client);
        if (!process.stdout.isTTY) return say(frame(context.url(), first).join('\n'));
        await live(context, client, first, Math.max(0.2, every) * 1000);
      }),
    );
}

async function look(client: Sutazai): Promise<Look> {
  const [queues, workers] = await Promise.all([client.queues.list().page(), client.workers.list().page()]);
  return { at: Date.now(), queues: queues.data, workers: workers.data };
}

async function live(context: Context, client: Sutazai, first: Look, everyMs: number): Promise<void> {
  const { stdin, stdout } = process;
  const over = Promise.withResolvers<void>();
  const onKey = (key: Buffer) => {
    if (['q', 'Q', '\x03', '\x1b'].includes(key.toString())) over.resolve();
  };
  const stop = () => over.resolve();
  let now = first;
  let trouble = '';
  const draw = () => {
    const lines = [...frame(context.url(), now), trouble].slice(0, (stdout.rows || 24) - 1);
    stdout.write(`${SCREEN.home}${lines.map((line) => `${line}${SCREEN.clearLine}\n`).join('')}${SCREEN.clearBelow}`);
  };
  stdout.write(SCREEN.open);
  // A terminal that was left in this state would be of no use: whatever happens, it is given back.
  if (stdin.isTTY) stdin.setRawMode(true).on('data', onKey).resume();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stop);
  stdout.on('resize', draw);
  draw();
  const timer = setInterval(async () => {
    try {
      [now, trouble] = [await look(client), ''];
    } catch (error) {
      trouble = paint('red', String((explain(error, context) as Error).message).split('\n')[0] ?? '');
    }
    draw();
  }, everyMs);
  try {
    await over.promise;
  } finally {
    clearInterval(timer);
    stdout.off('resize', draw);
    if (stdin.isTTY) stdin.setRawMode(false).off('data', onKey).pause();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, stop);
    stdout.write(SCREEN.close);
  }
}

function frame(url: string, now: Look): string[] {
  // That queue has messages, which are no tasks.
  const tasks = now.queues.filter(({ name }) => name !== 'webhook');
  const sum = (of: (queue: QueueInfo) => number) => tasks.reduce((total, queue) => total + of(queue), 0);
  const waiting = sum(({ counts }) => counts.pending);
  const rate = (verb: 'completed' | 'failed') => sum(({ throughput }) => throughput[`${verb}_per_minute`]).toFixed(1);
  const running = now.workers.flatMap((worker) => worker.running.map((task) => ({ ...task, worker: worker.name })));
  const atWork = now.workers.reduce((total, worker) => total + worker.running_total, 0);
  const unnamed = atWork > running.length ? [`and ${atWork - running.length} more`] : [];
  const rows = running
    .sort((a, b) => a.started_at.localeCompare(b.started_at))
    .map(({ id, type, lane, attempt, worker, started_at }) => [
      id,
      type,
      lane,
      String(attempt),
      duration(now.at - Date.parse(started_at)),
      worker,
    ]);
  return [
    `${paint('bold', `SutazAI at ${url}`)}  ${new Date(now.at).toLocaleTimeString()}`,
    `${waiting} waiting, ${atWork} running, ${rate('completed')} completed and ${rate('failed')} failed a minute`,
    '',
    ...queueTable(now.queues),
    '',
    ...(rows.length > 0 ? table(['TASK', 'TYPE', 'QUEUE', 'ATTEMPT', 'RUNS FOR', 'WORKER'], rows) : ['Nothing runs.']),
    ...unnamed,
  ];
}
