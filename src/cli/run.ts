import { Command, Option } from 'commander';
import type { NewTask, SubmittedTask, Sutazai, TaskOptions, TaskTypeInfo } from '../client/index.ts';
import { UsageError } from '../errors.ts';
import { readStdin } from './ask.ts';
import { act, type Context } from './context.ts';
import { exampleOf, type Flag, flagsOf, placeOfWords, put, readNumber, type Schema } from './flags.ts';
import { follow } from './follow.ts';
import { OBJECT, readObject } from './input.ts';
import { harmless, note, say, sayJson, sayPretty } from './terminal.ts';

interface RunOptions {
  input?: string;
  wait: boolean;
  json?: boolean;
  title?: string;
  priority?: number;
  tag?: string[];
  delay?: number;
  timeout?: number;
  attempts?: number;
}

/** `run`: its flags are those of the task type, as the server describes it. */
export function runCommand(program: Command, context: Context): void {
  withCommonOptions(
    program
      .command('run')
      .description('hand a task in, show its text while it is made, and wait for its end')
      .argument('[type]', 'a task type; `sutazai types` lists them')
      .argument('[words...]', 'its input: words, or a flag for each field; `sutazai run <type> --help` shows them')
      .passThroughOptions()
      .allowUnknownOption(),
  )
    .addHelpText(
      'after',
      `
The result goes to stdout, everything else to stderr. The exit code is 0 when the task is completed, 130 after Ctrl-C, else 1.

Examples:
  sutazai run echo --message hi
  sutazai run chat 'Once upon a time' --options.num-predict 48
  cat essay.txt | sutazai run generate - --system 'Summarize this.'
  sutazai run vector.search --input '{"collection": "notes", "query": "tea"}' --json`,
    )
    .action(
      act(context, async (name: string | undefined, words: string[], outer: RunOptions) => {
        if (name === undefined)
          throw new UsageError(
            'A task type is needed: `sutazai types` lists them, `sutazai run <type> --help` shows the flags of one.',
          );
        const client = context.client();
        return run(client, context.client({ patient: true }), await typeNamed(client, name), words, outer);
      }),
    );
}

async function typeNamed(client: Sutazai, name: string): Promise<TaskTypeInfo> {
  const { data } = await client.taskTypes.list().page();
  const type = data.find((one) => one.name === name);
  if (!type)
    throw new UsageError(
      `There is no task type ${name}; there are ${data.map((one) => one.name).join(', ')}. \`sutazai types\` says what they do.`,
    );
  return type;
}

async function run(
  client: Sutazai,
  patient: Sutazai,
  type: TaskTypeInfo,
  words: string[],
  outer: RunOptions,
): Promise<number> {
  const schema = type.input_schema as Schema;
  const command = new Command(`sutazai run ${type.name}`).description(type.summary);
  const flags = flagsOf(schema);
  for (const { option } of flags) command.addOption(option);
  withCommonOptions(command);
  const place = placeOfWords(schema);
  command.argument('[words...]', place ? `its ${place.name}` : 'it takes none');
  const [example] = type.examples;
  command.addHelpText(
    'after',
    [
      place
        ? `\nWords without a flag are its ${place.name}, or where that is given what is needed next; \`-\` reads them from stdin.`
        : '',
      example ? `\nExample:\n  ${exampleOf(type.name, schema, example)}` : '',
    ].join('\n'),
  );
  command.configureHelp({ sortOptions: false }).exitOverride((end) => process.exit(end.exitCode));
  command.parse(words, { from: 'user' });

  const options = merged(outer, command.opts<RunOptions>());
  const input = await inputOf(command, flags, options.input);
  if (command.args.length > 0) {
    const free = placeOfWords(schema, input);
    if (!free)
      throw new UsageError(
        `${type.name} takes no words${place ? ' beside these flags' : ''}: \`sutazai run ${type.name} --help\` shows its flags.`,
      );
    const text = command.args.length === 1 && command.args[0] === '-' ? await readStdin() : command.args.join(' ');
    input[free.name] = free.value(text);
  }
  const task = await client.tasks.submit({ type: type.name, input, ...submissionOf(options) });
  return options.wait ? finish(patient, task, options.json ?? false) : accepted(task, options.json ?? false);
}

/** Hands a task in, and waits for its end where that is wanted; answers the exit code. */
export async function handIn(
  context: Context,
  task: NewTask,
  { wait, json }: { wait: boolean; json: boolean },
): Promise<number> {
  const submitted = await context.client().tasks.submit(task);
  return wait ? finish(context.client({ patient: true }), submitted, json) : accepted(submitted, json);
}

function accepted(task: SubmittedTask, json: boolean): number {
  if (json) sayJson(task);
  else {
    say(task.id);
    note(`Accepted. \`sutazai tasks watch ${task.id}\` shows how it goes on.`);
  }
  return 0;
}

async function finish(client: Sutazai, submitted: SubmittedTask, json: boolean): Promise<number> {
  const { task, written, code } = await follow(client, submitted, { text: !json, named: !json });
  if (json) sayJson(task);
  else if (task.status === 'completed' && !written) sayPretty(task.output);
  else if (task.status !== 'completed') note(endOf(task));
  return code;
}

/** How a task ended that did not succeed, and what can be done. */
export function endOf({ id, status, error, cancel_reason: reason }: SubmittedTask): string {
  const why = error ? `${error.code}: ${error.message}` : reason;
  return `The task is ${status}${why ? ` (${harmless(why)})` : ''}. \`sutazai tasks retry ${id}\` runs it again.`;
}

function withCommonOptions(command: Command): Command {
  return command
    .option('--input <json>', `the whole input: ${OBJECT}`)
    .option('--no-wait', 'print the id of the task and do not wait for it')
    .option('--json', 'print the task as one JSON value in the place of its result')
    .option('--title <text>', 'a title for lists')
    .addOption(new Option('--priority <1-10>', '1 is first, 10 last').argParser(readNumber))
    .option('--tag <tag>', 'a tag; give it several times for several', (tag: string, all: string[] = []) => [
      ...all,
      tag,
    ])
    .addOption(new Option('--delay <seconds>', 'not before so long from now').argParser(readNumber))
    .addOption(new Option('--timeout <seconds>', 'how long one attempt may take').argParser(readNumber))
    .addOption(new Option('--attempts <n>', 'how often it is tried at most').argParser(readNumber));
}

/** Options may stand before the type and after it. */
function merged(outer: RunOptions, inner: RunOptions): RunOptions {
  const tag = [...(outer.tag ?? []), ...(inner.tag ?? [])];
  return { ...outer, ...inner, wait: outer.wait && inner.wait, ...(tag.length > 0 ? { tag } : {}) };
}

function submissionOf({ title, priority, tag, delay, timeout, attempts }: RunOptions): TaskOptions {
  return { title, priority, tags: tag, delay_seconds: delay, timeout_seconds: timeout, max_attempts: attempts };
}

async function inputOf(command: Command, flags: Flag[], whole: string | undefined): Promise<Record<string, unknown>> {
  const input = whole === undefined ? {} : await readObject(whole);
  const values = command.opts<Record<string, unknown>>();
  for (const { option, path } of flags) {
    const value = values[option.attributeName()];
    if (value !== undefined) put(input, path, value);
  }
  return input;
}
