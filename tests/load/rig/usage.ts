import { readdirSync, readFileSync } from 'node:fs';

/** The kernel counts the processor time of a process in hundredths of a second. */
const TICK_MS = 10;

interface Stat {
  pid: number;
  parent: number;
  /** With that of children that have ended and were waited for. */
  ms: number;
}

function readStat(pid: string): Stat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    // It has ended since it was listed.
    return undefined;
  }
  // The name of the program stands in brackets, and may hold spaces and brackets itself.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return { pid: Number(pid), parent: Number(fields[1]), ms: ticks * TICK_MS };
}

/** Processor time in milliseconds, by the name of each group: of its processes and of all that descend from them, ended ones included. */
export function cpuOf<Name extends string>(groups: Record<Name, readonly number[]>): Record<Name, number> {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => readStat(pid) ?? []);
  const children = Map.groupBy(all, ({ parent }) => parent);
  const byPid = new Map(all.map((stat) => [stat.pid, stat]));
  const sum = (stat: Stat): number =>
    (children.get(stat.pid) ?? []).reduce((total, child) => total + sum(child), stat.ms);
  const entries = Object.entries<readonly number[]>(groups).map(([name, pids]) => [
    name,
    pids.reduce((total, pid) => total + sum(byPid.get(pid) ?? { pid, parent: 0, ms: 0 }), 0),
  ]);
  return Object.fromEntries(entries) as Record<Name, number>;
}

/** What has been used between two looks. */
export function used<Name extends string>(
  before: Record<Name, number>,
  after: Record<Name, number>,
): Record<Name, number> {
  const entries = Object.keys(after).map((name) => [name, after[name as Name] - before[name as Name]]);
  return Object.fromEntries(entries) as Record<Name, number>;
}

/** All of it together. */
export function total(parts: Record<string, number>): number {
  return Object.values(parts).reduce((sum, ms) => sum + ms, 0);
}

/** Resident memory of a process in MB. */
export function rssMb(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}
