import { existsSync } from 'node:fs';
import { join, posix } from 'node:path';
import { Command } from 'commander';
import { addClientCommands } from '../../src/cli/index.ts';
import { ROOT, readText } from './sources.ts';

const PATH =
  /^(?:(?:src|tests|docs|scripts|migrations|deploy|bin|\.ci)\/[\w./-]*|[A-Z]+\.md|Dockerfile|\.env\.example|[\w-]+\.(?:yml|json))$/;

/** What a document names that is not there: paths, links, npm scripts and commands. */
export function deadReferences(path: string, text: string): string[] {
  const spans = [...text.matchAll(/```[^\n]*\n([\s\S]*?)```|`([^`\n]+)`/g)].map(
    ([, block, span]) => block ?? span ?? '',
  );
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target as string);
  const code = spans.join('\n');
  return [
    ...spans
      .map((span) => span.replace(/:\d+$/, ''))
      .filter((span) => PATH.test(span) && !span.includes('..') && !existsSync(join(ROOT, span))),
    ...links
      .filter((target) => !/^(?:[a-z]+:|#)/.test(target))
      .filter((target) => !existsSync(join(ROOT, posix.dirname(path), target.replace(/#.*/, '')))),
    ...[...code.matchAll(/\bnpm run (?:--silent )?([\w:-]+)/g)]
      .filter(([, name]) => !scripts().has(name as string))
      .map(([all]) => all),
    // Not the namespace of kubectl.
    ...[...code.matchAll(/(?:^|[\s(])(?<!-n )(?:bin\/)?(sutazai(?: --)? ([a-z][\w-]*)(?: ([a-z][\w-]*))?)/gm)]
      .filter(([, , command, verb]) => !isCommand(command as string, verb))
      .map(([, all]) => all as string),
  ].map((dead) => `${path} names ${dead}`);
}

function scripts(): Set<string> {
  return new Set(Object.keys(JSON.parse(readText('package.json')).scripts));
}

/** Those of a server as they stand in the sources, because importing the program would run it; those over HTTP as they are. */
function isCommand(command: string, verb: string | undefined): boolean {
  const groups = new Map<string, Set<string>>();
  const variables = new Map([['program', '']]);
  const calls = /(?:(?:const|let) (\w+) = )?\b(\w+)\s*\n?\s*\.command\('([\w-]+)/g;
  for (const [, variable, parent, name] of readText('src/main.ts').matchAll(calls)) {
    const group = variables.get(parent as string) ?? '';
    groups.set(group, new Set([...(groups.get(group) ?? []), name as string]));
    if (variable) variables.set(variable, name as string);
  }
  const program = new Command();
  addClientCommands(program, { config: () => ({}) as never, findLocal: async () => undefined });
  for (const one of [program, ...program.commands].filter(({ commands }) => commands.length > 0)) {
    const names = one.commands.map((inner) => inner.name());
    groups.set(one.name(), new Set([...(groups.get(one.name()) ?? []), ...names]));
  }
  const verbs = groups.get(command);
  return (groups.get('')?.has(command) ?? false) && (!verbs || !verb || verbs.has(verb));
}
