import type { Command } from 'commander';
import { act, type Context, forEach } from './context.ts';
import { follow } from './follow.ts';
import { endOf } from './run.ts';
import { note, oneLine, say, sayJson, table } from './terminal.ts';

/** `models`: which there are, pulling and deleting them. */
export function modelCommands(program: Command, context: Context): void {
  const models = program
    .command('models')
    .description('the models that the server can reach')
    .option('--json', 'one JSON value a line')
    .addHelpText('after', '\nExamples:\n  sutazai models\n  sutazai models pull tinyllama')
    .action(
      act(context, async ({ json }) => {
        const { data } = await context.client().models.list().page();
        if (json) return data.forEach(sayJson);
        const rows = data.map(({ name, default_for, hosts }) => [
          oneLine(name, 100),
          default_for.join(', '),
          hosts.map(({ host, loaded }) => `${host}${loaded ? '*' : ''}`).join(' '),
        ]);
        say(table(['MODEL', 'DEFAULT FOR', 'HOSTS (* LOADED)'], rows).join('\n'));
      }),
    );

  models
    .command('pull')
    .description('bring a model to the hosts, and follow it (for operators)')
    .argument('<model>', 'its name, such as tinyllama')
    .option('--host <label...>', 'only to these hosts')
    .option('--json', 'one JSON value')
    .addHelpText('after', '\nExample:\n  sutazai models pull tinyllama')
    .action(
      act(context, async (model: string, { host, json }: { host?: string[]; json?: boolean }) => {
        const client = context.client({ patient: true });
        const pulled = await client.models.pull({ model, ...(host ? { hosts: host } : {}) });
        const { task, code } = await follow(client, pulled, { text: false });
        if (json) sayJson(task);
        else if (task.status !== 'completed') note(endOf(task));
        else {
          const { hosts } = task.output as { hosts: Array<{ host: string }> };
          say(`${model} is on ${hosts.map((one) => one.host).join(', ')}`);
        }
        return code;
      }),
    );

  models
    .command('delete')
    .description('delete models from every host that has them (for operators)')
    .argument('<model...>', 'their names')
    .addHelpText('after', '\nExample:\n  sutazai models delete tinyllama')
    .action(
      act(context, async (names: string[]) => {
        const client = context.client();
        return forEach(context, names, async (name) => {
          await client.models.delete(name);
          say(`${name} is deleted`);
        });
      }),
    );
}
