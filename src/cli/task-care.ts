import type { Command } from 'commander';
import type { Bulk } from '../client/index.ts';
import { UsageError } from '../errors.ts';
import { type Choice, filterOf, withChoice } from './choice.ts';
import { act, type Context, forEach } from './context.ts';
import { follow } from './follow.ts';
import { endOf } from './run.ts';
import { duration, harmless, note, oneLine, say, sayJson, table } from './terminal.ts';

const ID = '0199f3a2-7c1e-7000-8000-000000000000';

/** Further commands of `tasks`: why one waits, what happened to it, forgetting, and many at once. */
export function taskCareCommands(tasks: Command, context: Context): void {
  tasks
    .command('explain')
    .description('why a task waits, at which place, and when it will probably start')
    .argument('<id>', 'the id of a task')
    .option('--json', 'one JSON value')
    .addHelpText('after', `\nExample:\n  sutazai tasks explain ${ID}`)
    .action(
      act(context, async (id: string, { json }) => {
        const why = await context.client().tasks.explain(id);
        if (json) return sayJson(why);
        const place = why.position === null ? '' : `, place ${why.position_is_exact ? '' : 'about '}${why.position}`;
        say(`${why.status}${place}${why.reason ? ` (${why.reason})` : ''}: ${harmless(why.detail)}`);
        const start = why.expected_start;
        const from = (time: string) => duration(Date.parse(time) - Date.now());
        if (start)
          say(`It will probably start in ${from(start.likely)} (${from(start.earliest)} to ${from(start.latest)}).`);
      }),
    );

  tasks
    .command('timeline')
    .description('everything that happened to a task, in order')
    .argument('<id>', 'the id of a task')
    .option('--json', 'one JSON value a line')
    .addHelpText('after', `\nExample:\n  sutazai tasks timeline ${ID}`)
    .action(
      act(context, async (id: string, { json }) => {
        const rows: string[][] = [];
        for await (const event of context.client().tasks.timeline(id)) {
          if (json) sayJson(event);
          else {
            const { at, type, status, attempt, by, outcome, message, error, percent, http_status, failure } = event;
            const happened = [by && `by ${by}`, outcome, percent != null && `${percent} %`, message, error?.message];
            const more = type === 'webhook' ? [event.event, failure ?? `answered ${http_status}`] : happened;
            rows.push([
              at,
              type,
              status ?? '',
              attempt ? String(attempt) : '',
              oneLine(more.filter(Boolean).join(' '), 80),
            ]);
          }
        }
        if (!json) say(table(['AT', 'WHAT', 'STATUS', 'ATTEMPT', ''], rows).join('\n'));
      }),
    );

  tasks
    .command('delete')
    .description('delete what is in ended tasks: input, output and what else its user wrote')
    .argument('<id...>', 'ids of tasks')
    .addHelpText('after', `\nExample:\n  sutazai tasks delete ${ID}`)
    .action(
      act(context, async (ids: string[]) => {
        const client = context.client();
        return forEach(context, ids, async (id) => {
          await client.tasks.delete(id);
          say(`${id} is deleted`);
        });
      }),
    );

  withChoice(
    tasks
      .command('bulk')
      .description('cancel, retry or delete all tasks that the options choose')
      .argument('<action>', 'cancel, retry or delete'),
  )
    .option('--before <time>', 'created before it, such as 2030-01-31T12:00:00Z')
    .option('--all', 'every task, in the place of a choice')
    .option('--dry-run', 'say how many, and do nothing')
    .option('--json', 'one JSON value')
    .addHelpText(
      'after',
      '\nExamples:\n  sutazai tasks bulk retry --status failed --error-code poison\n  sutazai tasks bulk delete --before 2030-01-01T00:00:00Z --dry-run',
    )
    .action(act(context, (action: Bulk['action'], options: BulkOptions) => bulk(context, action, options)));
}

interface BulkOptions extends Choice {
  before?: string;
  all?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

async function bulk(context: Context, action: Bulk['action'], options: BulkOptions): Promise<number> {
  const { all, dryRun, json, before, ...choice } = options;
  const chosen = { ...filterOf(choice), ...(before ? { created_before: before } : {}) };
  if (Object.keys(chosen).length === 0 && !all)
    throw new UsageError(
      'That would be every task: choose some (`sutazai tasks bulk --help` lists how), or say --all.',
    );
  const wanted: Bulk = { action, filter: chosen, ...(all ? { all: true } : {}) };
  const client = context.client({ patient: true });
  if (dryRun) {
    const matched = await client.tasks.countBulk(wanted);
    if (json) sayJson({ matched });
    else say(`${matched ?? 'more than 10000'} tasks`);
    return 0;
  }
  const { task, code } = await follow(client, await client.tasks.bulk(wanted), { text: false });
  if (json) sayJson(task);
  else if (task.status === 'completed') {
    const { matched, changed, skipped, failed } = task.output as Record<string, number>;
    say(`${matched} tasks: ${changed} changed, ${skipped} left as they were, ${failed} failed`);
  } else note(endOf(task));
  return code;
}
