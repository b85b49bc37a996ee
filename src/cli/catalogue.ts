import type { Command } from 'commander';
import type { QueueInfo, Sutazai } from '../client/index.ts';
import { act, type Context } from './context.ts';
import { exampleOf, type Schema } from './flags.ts';
import { ago, duration, note, paint, say, sayJson, table } from './terminal.ts';

const JSON_LINES = 'one JSON value a line';

/** `types`, `queues`, `workers`: what there is. */
export function catalogueCommands(program: Command, context: Context): void {
  program
    .command('types')
    .description('the task types of the server, with an example of each')
    .option('--names', 'the names alone')
    .option('--json', `${JSON_LINES}, with the schemas`)
    .addHelpText('after', '\nExample:\n  sutazai types --json | jq .input_schema')
    .action(
      act(context, async ({ names, json }) => {
        const { data } = await context.client().taskTypes.list().page();
        if (json) return data.forEach(sayJson);
        for (const { name, summary, queue, input_schema, examples } of data) {
          if (names) say(name);
          else {
            const example = exampleOf(name, input_schema as Schema, examples[0] ?? {});
            say(`${paint('bold', name)} (queue ${queue})\n  ${summary}\n  ${paint('dim', example)}`);
          }
        }
      }),
    );

  const queues = program
    .command('queues')
    .description('each queue with its tasks by status (for operators)')
    .option('--names', 'the names alone')
    .option('--json', JSON_LINES)
    .addHelpText('after', '\nExamples:\n  sutazai queues\n  sutazai queues pause llm')
    .action(
      act(context, async ({ names, json }) => {
        const { data } = await context.client().queues.list().page();
        if (json) return data.forEach(sayJson);
        if (names) return say(data.map(({ name }) => name).join('\n'));
        say(queueTable(data).join('\n'));
      }),
    );
  queues
    .command('pause')
    .description('let a queue stand still; it goes on accepting')
    .argument('<name>', 'a queue')
    .addHelpText('after', '\nExample:\n  sutazai queues pause llm')
    .action(act(context, (name: string) => turn(context.client(), name, 'pause')));
  queues
    .command('resume')
    .description('let a queue go on')
    .argument('<name>', 'a queue')
    .addHelpText('after', '\nExample:\n  sutazai queues resume llm')
    .action(act(context, (name: string) => turn(context.client(), name, 'resume')));

  program
    .command('workers')
    .description('each worker with its queues, and what it runs since when (for operators)')
    .option('--json', JSON_LINES)
    .addHelpText('after', '\nExample:\n  sutazai workers')
    .action(
      act(context, async ({ json }) => {
        const { data } = await context.client().workers.list().page();
        if (json) return data.forEach(sayJson);
        if (data.length === 0) return note('There is no worker: nothing is run before one is started.');
        const rows = data.flatMap(({ name, lanes, running, running_total }) => {
          const serves = Object.keys(lanes).join(' ');
          if (running_total === 0) return [[name, serves, 'idle']];
          const tasks = running.map((task) => [name, serves, task.lane, task.type, task.id, ago(task.started_at)]);
          const more = running_total - running.length;
          return more > 0 ? [...tasks, [name, serves, `and ${more} more`]] : tasks;
        });
        say(table(['WORKER', 'SERVES', 'RUNS IN', 'TYPE', 'TASK', 'STARTED'], rows).join('\n'));
      }),
    );
}

/** The lines that `queues` and `top` show. */
export function queueTable(queues: QueueInfo[]): string[] {
  const head = [
    ...['QUEUE', 'SCHEDULED', 'PENDING', 'RUNNING', 'COMPLETED*', 'FAILED*'],
    ...['OLDEST WAITS', 'COMPLETED/MIN', 'FAILED/MIN', ''],
  ];
  const rows = queues.map(({ name, counts, throughput, paused, paused_by, oldest_waiting_seconds: oldest }) => [
    name,
    ...[counts.scheduled, counts.pending, counts.running + counts.cancelling].map(String),
    ...[counts.completed, counts.failed + counts.expired].map(String),
    oldest > 0 ? duration(oldest * 1000) : '',
    ...[throughput.completed_per_minute, throughput.failed_per_minute].map((rate) => rate.toFixed(1)),
    paused ? paint('yellow', `paused by ${paused_by}`) : '',
  ]);
  const note = '* of the tasks of the last hour; rates are those of the last five minutes, and webhook counts messages';
  return [...table(head, rows), paint('dim', note)];
}

async function turn(client: Sutazai, name: string, verb: 'pause' | 'resume'): Promise<void> {
  const { paused } = await client.queues[verb](name);
  say(`${name} ${paused ? 'stands still' : 'goes on'}`);
}
