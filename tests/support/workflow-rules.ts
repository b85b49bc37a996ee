import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { ROOT, readText } from './sources.ts';

// biome-ignore lint/suspicious/noExplicitAny: it is whatever stands in the file
type Json = any;

/** What actionlint finds in texts, by their paths. */
export function lintWorkflows(texts: Record<string, string>): string[] {
  const script = fileURLToPath(new URL('actionlint.mjs', import.meta.url));
  const { stdout, stderr } = spawnSync(process.execPath, [script], { input: JSON.stringify(texts), encoding: 'utf8' });
  if (!stdout) throw new Error(stderr);
  return JSON.parse(stdout);
}

/** What actionlint does not ask for: pins, the least rights, an end in time, and commands that are there. */
export function workflowProblems(text: string): string[] {
  const workflow: Json = parse(text);
  const pins = text.split('\n').flatMap((line) => {
    const [, action, rest = ''] = /uses:\s*([^@\s]+)@(.*)$/.exec(line) ?? [];
    if (!action || /^[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(rest)) return [];
    return [`${action}@${rest} is not pinned by a hash with its version beside it`];
  });
  const jobs = Object.entries<Json>(workflow.jobs);
  return [
    ...pins,
    ...(JSON.stringify(workflow.permissions) === '{}' ? [] : ['the whole has rights that not each job needs']),
    ...jobs.flatMap(([name, job]) => jobProblems(job).map((problem) => `${name}: ${problem}`)),
  ];
}

function jobProblems(job: Json): string[] {
  const runs: string[] = job.steps.flatMap(({ run }: Json) => (run ? [run as string] : []));
  const checkouts = job.steps.filter(({ uses = '' }: Json) => uses.startsWith('actions/checkout@'));
  return [
    ...(job.permissions ? [] : ['says not which rights it needs']),
    ...(Object.values(job.permissions ?? {}).includes('write-all') ? ['has all rights'] : []),
    ...(job['timeout-minutes'] ? [] : ['may run for hours']),
    ...checkouts
      .filter((step: Json) => step.with?.['persist-credentials'] !== false)
      .map(() => 'leaves a token behind'),
    ...runs.filter((run) => run.includes('${{')).map((run) => `writes an expression into a script: ${run}`),
    ...runs.flatMap((run) => missingScripts(run)),
    ...runs.flatMap((run) => unknownStages(run)),
  ];
}

function missingScripts(run: string): string[] {
  const named = run.match(/(?:scripts\/[\w/.-]+|\.ci\/run)/g) ?? [];
  return named.filter((path) => !existsSync(join(ROOT, path))).map((path) => `${path} is not there`);
}

/** The stages of .ci/run are functions in it. */
function unknownStages(run: string): string[] {
  const [, words = ''] = /^\.ci\/run (.*)$/m.exec(run) ?? [];
  const known = [...readText('.ci/run').matchAll(/^(\w+)\(\) \{/gm)].map(([, name]) => name);
  return words
    .split(' ')
    .filter((word) => word && !known.includes(word))
    .map((word) => `.ci/run has no stage ${word}`);
}

/** Everything that a job waits for, at first or at second hand. */
export function before(workflow: Json, job: string): string[] {
  const direct = [workflow.jobs[job].needs ?? []].flat() as string[];
  return [...new Set([...direct, ...direct.flatMap((one) => before(workflow, one))])].sort();
}
