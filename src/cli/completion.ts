import { type Command, InvalidArgumentError } from 'commander';
import { STATUSES } from './choice.ts';
import { say } from './terminal.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

/** What may follow a command: its own commands, and its options. */
interface Place {
  /** The words before it, such as `tasks list`; empty for the program itself. */
  path: string;
  commands: Array<{ name: string; about: string }>;
  options: Array<{ name: string; about: string }>;
}

const TYPES = '$(sutazai types --names 2>/dev/null)';
const QUEUES = '$(sutazai queues --names 2>/dev/null)';
/** What may stand behind a command that has none below it. */
const ARGUMENTS: Record<string, string> = {
  ...{ run: TYPES, 'schedules create': TYPES, 'queues pause': QUEUES, 'queues resume': QUEUES },
  ...{ 'tasks bulk': 'cancel retry delete', completion: SHELLS.join(' ') },
};
/** What an option takes. */
const VALUES: Record<string, string> = { '--status': STATUSES.replaceAll(',', '') };

/** `completion`: a script for the shell, made from the commands that there are. */
export function completionCommand(program: Command): void {
  program
    .command('completion')
    .description('a script that completes commands, options and task types in a shell')
    .argument('<shell>', SHELLS.join(', '), (given: string) => {
      if (!(SHELLS as readonly string[]).includes(given))
        throw new InvalidArgumentError(`There are ${SHELLS.join(', ')}.`);
      return given;
    })
    .addHelpText(
      'after',
      `
Examples:
  sutazai completion bash > ~/.local/share/bash-completion/completions/sutazai
  sutazai completion zsh > ~/.zfunc/_sutazai     (with ~/.zfunc in fpath)
  sutazai completion fish > ~/.config/fish/completions/sutazai.fish`,
    )
    .action((shell: Shell) => say(SCRIPTS[shell](placesOf(program))));
}

function placesOf(command: Command, path: string[] = []): Place[] {
  const options = command.options.filter(({ hidden }) => !hidden);
  const place = {
    path: path.join(' '),
    commands: command.commands.map((one) => ({ name: one.name(), about: one.description() })),
    options: [
      ...options.map(({ long, description }) => ({ name: long ?? '', about: description })),
      { name: '--help', about: 'what it takes' },
    ],
  };
  return [place, ...command.commands.flatMap((one) => placesOf(one, [...path, one.name()]))];
}

const SCRIPTS: Record<Shell, (places: Place[]) => string> = {
  bash: (places) => `${shellFunction(places)}\ncomplete -o default -F _sutazai sutazai`,
  zsh: (places) =>
    `#compdef sutazai\nautoload -U +X bashcompinit && bashcompinit\n${shellFunction(places)}\ncomplete -o default -F _sutazai sutazai`,
  fish: (places) => places.flatMap(fishLines).join('\n'),
};

function shellFunction(places: Place[]): string {
  const known = places.map(({ path }) => path).filter(Boolean);
  const cases = places.map(({ path, commands, options }) => {
    const flags = options.map(({ name }) => name).join(' ');
    const words = ARGUMENTS[path] ?? commands.map(({ name }) => name).join(' ');
    return `    '${path}') flags='${flags}'; words="${words}" ;;`;
  });
  return `_sutazai() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" path='' option='' word flags words
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "\${path:+$path }$word" in
      ${known.map((path) => `'${path}'`).join('|')}) path="\${path:+$path }$word" ;;
    esac
    case "$word" in
      -*) option="$word" ;;
    esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  case "$option" in
${Object.entries(VALUES)
  .map(([option, values]) => `    ${option}) words='${values}' ;;`)
  .join('\n')}
  esac
  case "$cur" in
    -*) COMPREPLY=($(compgen -W "$flags" -- "$cur")) ;;
    *) COMPREPLY=($(compgen -W "$words" -- "$cur")) ;;
  esac
}`;
}

function fishLines({ path, commands, options }: Place): string[] {
  const steps = path.split(' ').filter(Boolean);
  const seen = steps.map((step) => `__fish_seen_subcommand_from ${step}`);
  const inner = commands.map(({ name }) => name).join(' ');
  const here =
    steps.length === 0
      ? ['__fish_use_subcommand']
      : [...seen, ...(inner ? [`not __fish_seen_subcommand_from ${inner}`] : [])];
  const line = (more: string, about: string, when = here) =>
    `complete -c sutazai -f -n '${when.join('; and ')}' ${more} -d '${about.replaceAll("'", "\\'")}'`;
  return [
    ...commands.map(({ name, about }) => line(`-a ${name}`, about)),
    ...options.map(({ name, about }) => {
      const values = VALUES[name] ? ` -x -a '${VALUES[name]}'` : '';
      return line(`-l ${name.replace(/^--/, '')}${values}`, about, seen.length > 0 ? seen : here);
    }),
    // fish writes a command in parentheses alone.
    ...(ARGUMENTS[path] ? [line(`-a '${ARGUMENTS[path].replace('$(', '(')}'`, 'what it takes')] : []),
  ];
}
