import { type Command, Option } from 'commander';
import type { Agent, NewAgent } from '../client/index.ts';
import { UsageError } from '../errors.ts';
import { agentHealthCommands } from './agent-health.ts';
import { act, type Context, forEach } from './context.ts';
import { readNumber } from './flags.ts';
import { OBJECT, readObject } from './input.ts';
import { handIn } from './run.ts';
import { harmless, jsonText, note, oneLine, paint, say, sayJson, table } from './terminal.ts';

const JSON_LINES = 'one JSON value a line';
const ONE_JSON = 'one JSON value';
const AGENT = 'its name or its id';

interface Given {
  endpoint?: string;
  port?: number;
  description?: string;
  capability?: string[];
  config?: string;
  secrets?: string;
}

/** `agents …`: who else can do work. */
export function agentCommands(program: Command, context: Context): void {
  const agents = program.command('agents').description('services and models with tools that tasks are given to');

  agents
    .command('list')
    .description('the agents that you may use, newest first')
    .option('--capability <word>', 'those that can do this')
    .addOption(new Option('--type <type>', 'those of this type').choices(['http', 'a2a', 'openai', 'ollama']))
    .option('--json', JSON_LINES)
    .addHelpText('after', '\nExample:\n  sutazai agents list --capability translation')
    .action(
      act(context, async ({ capability, type, json }) => {
        const rows: string[][] = [];
        for await (const one of context.client().agents.list({ capability, type })) {
          if (json) sayJson(one);
          rows.push(rowOf(one));
        }
        if (!json) say(table(['NAME', 'TYPE', 'STATE', 'WHOSE', 'CAPABILITIES', 'ENDPOINT'], rows).join('\n'));
      }),
    );

  agents
    .command('show')
    .description('an agent with its configuration; secrets are shown by their names alone')
    .argument('<agent>', AGENT)
    .option('--json', ONE_JSON)
    .addHelpText('after', '\nExample:\n  sutazai agents show translator')
    .action(
      act(context, async (name: string, { json }) => {
        const one = await context.client().agents.get(name);
        if (json) return sayJson(one);
        for (const [field, value] of Object.entries(one))
          say(`${field}: ${typeof value === 'object' ? jsonText(value, 2) : harmless(String(value))}`);
      }),
    );

  withFields(
    agents
      .command('create')
      .description('register an agent')
      .argument('<name>', 'letters, digits, dots, dashes and underscores')
      .argument('[endpoint]', 'where it is; an agent of the type ollama is nowhere')
      .addOption(new Option('--type <type>', 'how it is spoken to').choices(['http', 'a2a', 'openai', 'ollama']))
      .option('--shared', 'for everybody (for operators)'),
  )
    .option('--json', ONE_JSON)
    .addHelpText(
      'after',
      `
Examples:
  sutazai agents create translator https://agents.example.com/translate --capability translation
  sutazai agents create gpt https://api.example.com --type openai --config '{"model": "gpt"}' --secrets keys.json`,
    )
    .action(
      act(context, async (name: string, endpoint: string | undefined, { type = 'http', shared, json, ...given }) => {
        const fields = await fieldsOf(given);
        const made = await context
          .client()
          .agents.create({ name, type, ...(endpoint ? { endpoint } : {}), ...fields, ...(shared ? { shared } : {}) });
        if (json) return sayJson(made);
        say(made.id);
        note(`\`sutazai agents run ${made.name} 'hello'\` gives it something to do.`);
      }),
    );

  withFields(
    agents
      .command('update')
      .description('change an agent; what is not given stays')
      .argument('<agent>', AGENT)
      .option('--endpoint <url>', 'where it is')
      .option('--name <name>', 'another name')
      .option('--on', 'it takes work again')
      .option('--off', 'it takes no work'),
  )
    .option('--json', ONE_JSON)
    .addHelpText('after', '\nExample:\n  sutazai agents update translator --off')
    .action(
      act(context, async (agent: string, { name, on, off, json, ...given }) => {
        if (on && off) throw new UsageError('--on and --off do not go together.');
        const changes = { ...(await fieldsOf(given)), ...(name ? { name } : {}) };
        const changed = await context
          .client()
          .agents.update(agent, { ...changes, ...(on || off ? { is_active: on === true } : {}) });
        if (json) return sayJson(changed);
        say(`${changed.name} is changed`);
      }),
    );

  agents
    .command('delete')
    .description('delete agents; their tasks stay')
    .argument('<agent...>', 'their names or ids')
    .addHelpText('after', '\nExample:\n  sutazai agents delete translator')
    .action(
      act(context, async (names: string[]) => {
        const client = context.client();
        return forEach(context, names, async (name) => {
          await client.agents.delete(name);
          say(`${harmless(name)} is deleted`);
        });
      }),
    );

  agentHealthCommands(agents, context);

  agents
    .command('run')
    .description('give an agent something to do, and wait for what comes of it')
    .argument('[agent]', 'its name or its id; not with --capability')
    .argument('[words...]', 'its input, where that is a text')
    .option('--capability <word>', 'the best of those that can do this, in the place of one')
    .option('--input <json>', `its input: ${OBJECT}`)
    .option('--no-wait', 'print the id of the task and do not wait for it')
    .option('--json', 'print the task as one JSON value in the place of its result')
    .addHelpText(
      'after',
      `
Examples:
  sutazai agents run translator --input '{"text": "good morning"}'
  sutazai agents run --capability translation good morning`,
    )
    .action(
      act(context, async (agent: string | undefined, words: string[], { capability, input, wait, json }) => {
        const text = (capability ? [agent, ...words] : words).filter((word) => word !== undefined).join(' ');
        if (!agent && !capability) throw new UsageError('Name an agent, or say --capability.');
        if ((text === '') === (input === undefined)) throw new UsageError('Give the input as words, or as --input.');
        const given = input === undefined ? text : await readObject(input, '--input');
        const whom = capability ? { capability } : { agent };
        return handIn(context, { type: 'agent.run', input: { ...whom, input: given } }, { wait, json: json ?? false });
      }),
    );
}

/** The options that say what an agent is, for one that is made and for one that is changed. */
function withFields(command: Command): Command {
  return command
    .option('--port <port>', 'where the endpoint names none', readNumber)
    .option('--description <text>', 'what it does')
    .option('--capability <word...>', 'what it can do, in words of your own')
    .option('--config <json>', `how it is spoken to: ${OBJECT}`)
    .option(
      '--secrets <json>',
      'values by name, and null to forget one: the name of a JSON file, or `-` for stdin, so that no other process sees them',
    );
}

async function fieldsOf({ endpoint, port, description, capability, config, secrets }: Given) {
  const given = {
    ...{ endpoint, port, description, capabilities: capability },
    config: config === undefined ? undefined : await readObject(config, '--config'),
    secrets: secrets === undefined ? undefined : ((await readObject(secrets, '--secrets')) as NewAgent['secrets']),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Partial<NewAgent>;
}

function rowOf({ name, type, is_active, user_id, capabilities, endpoint, port }: Agent): string[] {
  return [
    ...[name, type, is_active ? 'on' : paint('yellow', 'off'), user_id === null ? 'everybody' : ''],
    ...[oneLine(capabilities.join(' '), 40), oneLine(`${endpoint ?? ''}${port === null ? '' : ` (${port})`}`, 60)],
  ];
}
