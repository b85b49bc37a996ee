import type { Command } from 'commander';
import type { Sutazai, Task } from '../client/index.ts';
import { type Choice, filterOf, withChoice } from './choice.ts';
import { act, type Context, forEach } from './context.ts';
import { readNumber } from './flags.ts';
import { follow, followJson } from './follow.ts';
import { graphCommands } from './graph.ts';
import { OBJECT, readObject } from './input.ts';
import { endOf } from './run.ts';
import { taskCareCommands } from './task-care.ts';
import { ago, jsonText, note, oneLine, paint, paintStatus, say, sayJson, sayPretty, table } from './terminal.ts';

const JSON_LINES = 'one JSON value a line';

interface ListOptions extends Choice {
  limit: number;
  all?: boolean;
  json?: boolean;
}

/** `tasks …`: looking at tasks and steering them. */
export function taskCommands(program: Command, context: Context): void {
  const tasks = program.command('tasks').description('look at tasks, and steer them');

  withChoice(tasks.command('list').description('tasks, newest first'))
    .option('--limit <n>', 'how many', readNumber, 20)
    .option('--all', 'all there are')
    .option('--json', JSON_LINES)
    .addHelpText(
      'after',
      '\nExamples:\n  sutazai tasks list --status failed expired\n  sutazai tasks list --status failed --error-code poison\n  sutazai tasks list --all --json | jq .id',
    )
    .action(act(context, (options: ListOptions) => list(context.client(), options)));

  tasks
    .command('show')
    .description('a task with its input and its result')
    .argument('<id...>', 'ids of tasks')
    .option('--json', JSON_LINES)
    .addHelpText('after', '\nExample:\n  sutazai tasks show 0199f3a2-7c1e-7000-8000-000000000000')
    .action(
      act(context, async (ids: string[], { json }) => {
        const client = context.client();
        return forEach(context, ids, async (id) => {
          const task = await client.tasks.get(id);
          if (json) sayJson(task);
          else say(described(task));
        });
      }),
    );

  tasks
    .command('watch')
    .description('show the text and the progress of a task until it ends; Ctrl-C cancels it')
    .argument('<id>', 'the id of a task')
    .option('--json', 'each event as one JSON value on a line')
    .addHelpText(
      'after',
      '\nThe exit code is 0 when the task is completed.\n\nExample:\n  sutazai tasks watch 0199f3a2-7c1e-7000-8000-000000000000',
    )
    .action(act(context, (id: string, { json }) => watch(context, id, json)));

  tasks
    .command('cancel')
    .description('cancel tasks, waiting or running')
    .argument('<id...>', 'ids of tasks')
    .option('--json', JSON_LINES)
    .addHelpText('after', '\nExample:\n  sutazai tasks cancel 0199f3a2-7c1e-7000-8000-000000000000')
    .action(
      act(context, async (ids: string[], { json }) => {
        const client = context.client();
        return forEach(context, ids, async (id) => told(await client.tasks.cancel(id), json));
      }),
    );

  tasks
    .command('retry')
    .description('run an ended task again; with another input it is a new task')
    .argument('<id>', 'the id of a task')
    .option('--input <json>', `another input: ${OBJECT}`)
    .option('--json', JSON_LINES)
    .addHelpText(
      'after',
      `\nExamples:\n  sutazai tasks retry 0199f3a2-7c1e-7000-8000-000000000000\n  sutazai tasks retry 0199f3a2-7c1e-7000-8000-000000000000 --input '{"message": "better"}'`,
    )
    .action(
      act(context, async (id: string, { input, json }) => {
        const more = input === undefined ? {} : { input: await readObject(input) };
        told(await context.client().tasks.retry(id, more), json);
      }),
    );

  tasks
    .command('attempts')
    .description('every attempt of a task that has ended')
    .argument('<id>', 'the id of a task')
    .option('--json', JSON_LINES)
    .addHelpText('after', '\nExample:\n  sutazai tasks attempts 0199f3a2-7c1e-7000-8000-000000000000')
    .action(
      act(context, async (id: string, { json }) => {
        const data = await Array.fromAsync(context.client().tasks.attempts(id, { limit: 200 }));
        if (json) return data.forEach(sayJson);
        const rows = data.map(({ attempt, outcome, worker, ended_at, error }) => [
          String(attempt),
          outcome,
          worker ?? '',
          ago(ended_at),
          oneLine(error?.message ?? '', 80),
        ]);
        say(table(['ATTEMPT', 'OUTCOME', 'WORKER', 'ENDED', 'ERROR'], rows).join('\n'));
      }),
    );

  taskCareCommands(tasks, context);
  graphCommands(tasks, context);
}

async function list(client: Sutazai, { limit, all, json, ...choice }: ListOptions): Promise<void> {
  const filter = filterOf(choice);
  const rows: string[][] = [];
  let left = all ? Number.POSITIVE_INFINITY : limit;
  for await (const task of client.tasks.list({ ...filter, limit: Math.min(left, 200) })) {
    if (json) sayJson(task);
    else rows.push([task.id, task.type, paintStatus(task.status), ago(task.created_at), oneLine(task.title ?? '', 50)]);
    left--;
    if (left <= 0) break;
  }
  if (json) return;
  if (rows.length === 0) note('There is no such task. `sutazai run echo --message hi` makes one.');
  else say(table(['ID', 'TYPE', 'STATUS', 'CREATED', 'TITLE'], rows).join('\n'));
}

async function watch(context: Context, id: string, json: boolean | undefined): Promise<number> {
  const client = context.client({ patient: true });
  if (json) return followJson(client, id);
  const { task, written, code } = await follow(client, await client.tasks.get(id), { text: true });
  if (task.status !== 'completed') note(endOf(task));
  else if (!written) sayPretty(task.output);
  return code;
}

function told(task: Task, json: boolean | undefined): void {
  if (json) sayJson(task);
  else say(`${task.id} is ${paintStatus(task.status)}`);
}

function described(task: Task): string {
  const { progress, error, usage } = task;
  const lines: Array<[string, string | null | undefined]> = [
    ['id', task.id],
    ['type', task.type],
    ['title', task.title],
    ['status', paintStatus(task.status)],
    [
      'progress',
      progress &&
        [progress.percent === null ? '' : `${progress.percent} %`, progress.message].filter(Boolean).join(' '),
    ],
    ['priority', String(task.priority)],
    ['attempt', `${task.attempt}, ${task.failures} of ${task.max_attempts} failures`],
    ['tags', task.tags.join(', ')],
    ['model', task.model],
    ['tokens', usage && `${usage.input_tokens} in, ${usage.output_tokens} out`],
    ['created', `${task.created_at} (${ago(task.created_at)})`],
    ['due', task.scheduled_for],
    ['started', task.started_at],
    ['ended', task.completed_at],
    ['cancelled', task.cancel_reason],
    // What the last attempt met, where the task goes on.
    [task.completed_at ? 'error' : 'last error', error && `${error.code}: ${error.message}`],
  ];
  const shown = lines
    .filter(([, value]) => value)
    .map(([name, value]) => `${paint('dim', name.padEnd(10))} ${oneLine(value ?? '', 500)}`);
  const payloads = [
    ...(task.input === null ? [] : [paint('dim', 'input'), jsonText(task.input, 2)]),
    ...(task.output === null ? [] : [paint('dim', 'output'), jsonText(task.output, 2)]),
  ];
  return [...shown, ...payloads].join('\n');
}
