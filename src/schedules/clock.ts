import { Cron } from 'croner';

/** When a schedule ticks: `cron` in a time zone, or every so many seconds counted from `starts_at`. */
export interface Timing {
  cron: string | null;
  every_seconds: number | null;
  timezone: string;
  starts_at: Date;
}

/** The ticks that have come and were not looked at. */
export interface DueTicks {
  /** The last of them. */
  last: Date;
  /** How many there are; of a cron expression no more than {@link COUNTED} are counted. */
  count: number;
}

/** As others say what croner calls otherwise. */
const NAMED: Record<string, string> = { nearestWeekdays: 'day' };

const COUNTED = 1_000;
const ZONE_EXAMPLE = 'Europe/Berlin or UTC';
const CRON_EXAMPLE = '"30 2 * * 1-5" (02:30 from Monday to Friday)';

/**
 * The first tick after a time; `null` where none comes any more. Of a pattern that names hours, a local time that a clock change leaves
 * out ticks at the moment of the change, and one that comes twice the first time.
 */
export function nextTick(timing: Timing, after: Date): Date | null {
  if (timing.every_seconds === null) return cronOf(timing).nextRun(after);
  const { start, every } = gridOf(timing);
  return new Date(start + (Math.max(Math.floor((after.getTime() - start) / every), 0) + 1) * every);
}

/** The tick `first` and those that follow it. */
export function ticksFrom(timing: Timing, first: Date, count: number): Date[] {
  const ticks: Date[] = [];
  for (let tick: Date | null = first; tick && ticks.length < count; tick = nextTick(timing, tick)) ticks.push(tick);
  return ticks;
}

/** The ticks from `first`, which is one, up to now. */
export function dueTicks(timing: Timing, first: Date, now: Date): DueTicks {
  if (timing.every_seconds !== null) {
    const more = Math.floor((now.getTime() - first.getTime()) / gridOf(timing).every);
    return { last: new Date(first.getTime() + more * gridOf(timing).every), count: more + 1 };
  }
  const cron = cronOf(timing);
  let due: DueTicks = { last: first, count: 1 };
  for (let next = cron.nextRun(first); next && next <= now; next = cron.nextRun(next)) {
    if (due.count === COUNTED)
      return { ...due, last: cron.previousRuns(1, new Date(now.getTime() + 1))[0] ?? due.last };
    due = { last: next, count: due.count + 1 };
  }
  return due;
}

/** What is wrong with a cron expression, as the rest of a sentence; `undefined` where it is good. */
export function cronProblem(pattern: string, after: Date): string | undefined {
  const fields = pattern.trim().split(/\s+/);
  if (fields.length !== 5 && fields.length !== 6)
    return `must have 5 fields (minute, hour, day, month, weekday), or 6 with seconds first, and has ${pattern.trim() === '' ? 0 : fields.length}; write for example ${CRON_EXAMPLE}`;
  try {
    if (cronOf({ cron: pattern, timezone: 'UTC' }).nextRun(after)) return undefined;
  } catch (error) {
    const why = (error as Error).message
      .replace(/^CronPattern: /, '')
      // Croner counts these from 0.
      .replace(
        /(?<= for )(day|month|nearestWeekdays): (-?\d+)/,
        (_, name, n) => `${NAMED[name] ?? name}: ${Number(n) + 1}`,
      );
    return `is not a cron expression: ${why}${why.endsWith('.') ? '' : '.'} Write for example ${CRON_EXAMPLE}`;
  }
  return 'names a time that never comes, such as the 31st of February';
}

/** What is wrong with the name of a time zone; `undefined` where it is good. */
export function zoneProblem(zone: string): string | undefined {
  // Offsets are no zones: they know no summer time, and whoever writes one may think so.
  const named = /^[A-Za-z]/.test(zone);
  if (named && isKnownZone(zone)) return undefined;
  return `is not a time zone of the IANA database; write for example ${ZONE_EXAMPLE}`;
}

function isKnownZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

function cronOf({ cron, timezone }: Pick<Timing, 'cron' | 'timezone'>): Cron {
  return new Cron(asTimesOfDay(cron ?? ''), { timezone, paused: true, fixedTimeRule: 'no-wildcard' });
}

/**
 * Croner takes a pattern with a * or / in it for one of intervals, which leaves out the hour that a day does not have, even where the
 * hours are named. So minutes and seconds within named hours are written out.
 */
function asTimesOfDay(pattern: string): string {
  const fields = pattern.trim().split(/\s+/);
  const hour = fields.length - 4;
  if (/[*?/]/.test(fields[hour] ?? '*')) return pattern;
  return fields.map((field, n) => (n < hour ? field.split(',').map(writtenOut).join() : field)).join(' ');
}

/** A step of minutes or seconds as the list of them; what is none, or a wrong one, as it is. */
function writtenOut(part: string): string {
  const [, from = '0', to = '59', step = '1'] = /^(?:[*?]|(\d+)-(\d+)(?=\/))(?:\/(\d+))?$/.exec(part) ?? [
    undefined,
    '',
  ];
  if (from === '' || Number(step) < 1 || Number(step) > 60 || Number(from) > Number(to) || Number(to) > 59) return part;
  const count = Math.floor((Number(to) - Number(from)) / Number(step)) + 1;
  return Array.from({ length: count }, (_, n) => Number(from) + n * Number(step)).join();
}

function gridOf({ every_seconds, starts_at }: Timing): { start: number; every: number } {
  return { start: starts_at.getTime(), every: (every_seconds ?? 1) * 1_000 };
}
