import type { Command } from 'commander';
import { act, type Context } from './context.ts';
import { readNumber } from './flags.ts';
import { OBJECT, readObject } from './input.ts';
import { ago, harmless, note, oneLine, paint, say, sayJson, table } from './terminal.ts';

const JSON_LINES = 'one JSON value a line';
const ID = '0199f3a2-7c1e-7000-8000-000000000000';

/** `webhooks …`: who is told of the ends of tasks. */
export function webhookCommands(program: Command, context: Context): void {
  const webhooks = program.command('webhooks').description('addresses that hear of all your tasks');

  webhooks
    .command('list')
    .description('your webhooks, newest first')
    .option('--json', JSON_LINES)
    .addHelpText('after', '\nExample:\n  sutazai webhooks list')
    .action(
      act(context, async ({ json }) => {
        const rows: string[][] = [];
        for await (const one of context.client().webhooks.list()) {
          if (json) sayJson(one);
          const state = one.enabled
            ? one.failing_since
              ? paint('red', 'fails')
              : 'on'
            : `off (${one.disabled_reason})`;
          rows.push([one.id, oneLine(one.name ?? '', 30), oneLine(one.url, 60), state, one.events.join(' ')]);
        }
        if (!json) say(table(['ID', 'NAME', 'URL', 'STATE', 'EVENTS'], rows).join('\n'));
      }),
    );

  webhooks
    .command('create')
    .description('let a URL hear of your tasks; the secret is shown this once')
    .argument('<url>', 'the address')
    .option('--name <name>', 'a name for lists')
    .option('--events <event...>', 'which events, such as task.completed; those of the end where it is not given')
    .option('--json', 'one JSON value')
    .addHelpText('after', '\nExample:\n  sutazai webhooks create https://example.com/hook --events task.failed')
    .action(
      act(context, async (url: string, { name, events, json }) => {
        const made = await context.client().webhooks.create({ url, name, events });
        if (json) return sayJson(made);
        say(`${made.id}\n${made.webhook_secret}`);
        note(
          `The second line is the signing secret, shown this once. \`sutazai webhooks test ${made.id}\` sends a message.`,
        );
      }),
    );

  webhooks
    .command('delete')
    .description('remove a webhook')
    .argument('<id>', 'the id of a webhook')
    .addHelpText('after', `\nExample:\n  sutazai webhooks delete ${ID}`)
    .action(
      act(context, async (id: string) => {
        await context.client().webhooks.delete(id);
        say(`${id} is removed`);
      }),
    );

  webhooks
    .command('test')
    .description('send a test message to a webhook, and say what was answered')
    .argument('<id>', 'the id of a webhook')
    .option('--wait <seconds>', 'how long to wait for the answer', readNumber, 30)
    .option('--json', 'one JSON value')
    .addHelpText('after', `\nExample:\n  sutazai webhooks test ${ID}`)
    .action(
      act(context, async (id: string, { wait, json }) => {
        const client = context.client();
        const until = Date.now() + wait * 1000;
        let delivery = await client.webhooks.test(id);
        while (delivery.status === 'pending' || delivery.status === 'running') {
          if (Date.now() >= until) {
            if (json) sayJson(delivery);
            const why = delivery.last_error ?? 'nobody has sent it yet';
            note(
              `The message ${delivery.id} is still ${delivery.status} after ${wait} s: ${harmless(why)}. Does a worker serve the queue of webhooks? Operators see it with \`sutazai workers\`.`,
            );
            return 1;
          }
          await new Promise((resolve) => setTimeout(resolve, 300));
          delivery = await client.deliveries.get(delivery.id);
        }
        if (json) sayJson(delivery);
        else say(`${delivery.status}: ${harmless(delivery.last_error ?? `answered ${delivery.last_status}`)}`);
        return delivery.status === 'delivered' ? 0 : 1;
      }),
    );
}

/** `schedules …`: tasks that are submitted again and again. */
export function scheduleCommands(program: Command, context: Context): void {
  const schedules = program.command('schedules').description('tasks that are submitted again and again');

  schedules
    .command('list')
    .description('your schedules, newest first')
    .option('--json', JSON_LINES)
    .addHelpText('after', '\nExample:\n  sutazai schedules list')
    .action(
      act(context, async ({ json }) => {
        const rows: string[][] = [];
        for await (const one of context.client().schedules.list()) {
          if (json) sayJson(one);
          const when = one.cron ? `${one.cron} ${one.timezone}` : `every ${one.every_seconds} s`;
          const next = one.enabled ? (one.next_run_at ?? '') : paint('yellow', 'off');
          rows.push([one.id, oneLine(one.name ?? '', 30), when, one.task.type, next, ago(one.last_run_at)]);
        }
        if (!json) say(table(['ID', 'NAME', 'WHEN', 'TYPE', 'NEXT', 'LAST'], rows).join('\n'));
      }),
    );

  schedules
    .command('create')
    .description('submit a task by cron, or every so many seconds')
    .argument('<type>', 'a task type')
    .requiredOption('--input <json>', `its input: ${OBJECT}`)
    .option('--cron <fields>', 'five or six fields, such as "30 2 * * *"')
    .option('--every <seconds>', 'in the place of cron', readNumber)
    .option('--timezone <zone>', 'an IANA zone for cron, such as Europe/Berlin')
    .option('--name <name>', 'a name for lists')
    .option('--catch-up <how>', 'what becomes of missed ticks: one, or skip')
    .option('--json', 'one JSON value')
    .addHelpText(
      'after',
      `\nExample:\n  sutazai schedules create echo --input '{"message": "hi"}' --cron '30 2 * * *' --timezone Europe/Berlin`,
    )
    .action(
      act(context, async (type: string, { input, cron, every, timezone, name, catchUp, json }) => {
        const when = { cron, every_seconds: every, timezone, catch_up: catchUp };
        const made = await context
          .client()
          .schedules.create({ name, ...when, task: { type, input: await readObject(input) } });
        if (json) return sayJson(made);
        say(made.id);
        note(`The first task starts at ${made.next_run_at}.`);
      }),
    );

  schedules
    .command('delete')
    .description('delete a schedule; its tasks stay')
    .argument('<id>', 'the id of a schedule')
    .addHelpText('after', `\nExample:\n  sutazai schedules delete ${ID}`)
    .action(
      act(context, async (id: string) => {
        await context.client().schedules.delete(id);
        say(`${id} is deleted`);
      }),
    );

  schedules
    .command('run')
    .description('start the task of a schedule now, beside its ticks')
    .argument('<id>', 'the id of a schedule')
    .option('--json', 'one JSON value')
    .addHelpText('after', `\nExample:\n  sutazai schedules run ${ID}`)
    .action(
      act(context, async (id: string, { json }) => {
        const task = await context.client().schedules.run(id);
        if (json) return sayJson(task);
        say(task.id);
        note(`\`sutazai tasks watch ${task.id}\` shows how it goes on.`);
      }),
    );
}
