import type { Command } from 'commander';
import { type NewWorkflow, SutazaiError, type WorkflowInfo } from '../client/index.ts';
import { act, type Context } from './context.ts';
import { readNumber } from './flags.ts';
import { follow } from './follow.ts';
import { OBJECT, readObject } from './input.ts';
import { endOf } from './run.ts';
import { ago, note, oneLine, say, sayJson, sayPretty, table } from './terminal.ts';

const JSON_LINES = 'one JSON value a line';
const NAME = 'the name of a stored workflow';

const rowOf = ({ name, version, step_count, updated_at, description }: WorkflowInfo) => [
  name,
  String(version),
  String(step_count),
  ago(updated_at),
  oneLine(description ?? '', 60),
];

/** The same error, with its pointers as the arguments of `workflows run` are called, which stand in the input of the task. */
function asOfRun(error: SutazaiError): SutazaiError {
  const { code, detail, cause, status, requestId, retryAfterMs } = error;
  const errors = error.errors.map(({ pointer, detail: what }) => {
    const [, , field = '', ...below] = pointer.split('/');
    if (!pointer.startsWith('#/input/')) return { pointer, detail: what };
    return { pointer: `#/${field}`, detail: below.length > 0 ? `(${below.join('.')}) ${what}` : what };
  });
  return new SutazaiError(code, detail, { cause, status, errors, requestId, retryAfterMs });
}

/** `workflows …`: storing and running workflows; `tasks graph` shows one that runs. */
export function workflowCommands(program: Command, context: Context): void {
  const workflows = program.command('workflows').description('stored workflows: tasks after and beside each other');

  workflows
    .command('list')
    .description('your workflows, newest first')
    .option('--json', JSON_LINES)
    .addHelpText('after', '\nExample:\n  sutazai workflows list')
    .action(
      act(context, async ({ json }) => {
        const rows: string[][] = [];
        for await (const one of context.client().workflows.list()) {
          if (json) sayJson(one);
          rows.push(rowOf(one));
        }
        if (!json) say(table(['NAME', 'VERSION', 'STEPS', 'CHANGED', ''], rows).join('\n'));
      }),
    );

  workflows
    .command('show')
    .description('the definition of a workflow, as JSON that can be stored again')
    .argument('<name>', NAME)
    .option('--version <n>', 'an earlier version', readNumber)
    .addHelpText('after', '\nExample:\n  sutazai workflows show greeting > greeting.json')
    .action(
      act(context, async (name: string, { version }: { version?: number }) => {
        const { workflows: calls } = context.client();
        const { steps, output } = version === undefined ? await calls.get(name) : await calls.version(name, version);
        sayPretty({ steps, ...(output === null ? {} : { output }) });
      }),
    );

  workflows
    .command('versions')
    .description('the versions of a workflow, newest first')
    .argument('<name>', NAME)
    .option('--json', JSON_LINES)
    .addHelpText('after', '\nExample:\n  sutazai workflows versions greeting')
    .action(
      act(context, async (name: string, { json }) => {
        const rows: string[][] = [];
        for await (const one of context.client().workflows.versions(name)) {
          if (json) sayJson(one);
          rows.push([String(one.version), String(one.step_count), one.created_by, ago(one.created_at)]);
        }
        if (!json) say(table(['VERSION', 'STEPS', 'BY', 'MADE'], rows).join('\n'));
      }),
    );

  workflows
    .command('store')
    .description('store a workflow under a name, or a new version of the one that has it')
    .argument('<name>', 'letters, digits, dots, dashes and underscores')
    .argument('<definition>', `its steps: ${OBJECT}`)
    .option('--description <text>', 'what it is for')
    .option('--json', 'one JSON value')
    .addHelpText('after', '\nExample:\n  sutazai workflows store greeting greeting.json')
    .action(
      act(context, async (name: string, given: string, { description, json }) => {
        const { workflows: calls } = context.client();
        const definition = { ...((await readObject(given, '<definition>')) as unknown as NewWorkflow), description };
        const stored = await calls.create({ ...definition, name }).catch((error: unknown) => {
          if (error instanceof SutazaiError && error.code === 'already_exists') return calls.update(name, definition);
          throw error;
        });
        if (json) return sayJson(stored);
        say(`${stored.name} is stored as version ${stored.version}`);
        note(`\`sutazai workflows run ${stored.name}\` runs it.`);
      }),
    );

  workflows
    .command('run')
    .description('run a stored workflow, and wait for its end')
    .argument('<name>', NAME)
    .option('--version <n>', 'an earlier version', readNumber)
    .option('--input <json>', `what its expressions know as input: ${OBJECT}`)
    .option('--no-wait', 'print the id of the task and do not wait for it')
    .option('--json', 'print the task as one JSON value in the place of its result')
    .addHelpText('after', `\nExample:\n  sutazai workflows run greeting --input '{"name": "Ann"}'`)
    .action(
      act(context, async (name: string, { version, input, wait, json }) => {
        const given = { workflow: name, version, ...(input === undefined ? {} : { input: await readObject(input) }) };
        const submitted = await context
          .client()
          .tasks.submit<string>({ type: 'workflow', input: given })
          .catch((error: unknown) => {
            throw error instanceof SutazaiError ? asOfRun(error) : error;
          });
        if (!wait) {
          if (json) sayJson(submitted);
          else say(submitted.id);
          return 0;
        }
        note(`\`sutazai tasks graph ${submitted.id}\` shows its steps.`);
        const { task, code } = await follow(context.client({ patient: true }), submitted, { text: false });
        if (json) sayJson(task);
        else if (task.status === 'completed') sayPretty(task.output);
        else note(endOf(task));
        return code;
      }),
    );

  workflows
    .command('delete')
    .description('delete a workflow with all its versions; what has begun goes on')
    .argument('<name>', NAME)
    .addHelpText('after', '\nExample:\n  sutazai workflows delete greeting')
    .action(
      act(context, async (name: string) => {
        await context.client().workflows.delete(name);
        say(`${name} is deleted`);
      }),
    );
}
