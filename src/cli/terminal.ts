import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];

/** What was asked for: the only thing that goes to stdout. */
export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Everything else that a person may want to know. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** One JSON value on a line of its own. */
export function sayJson(value: unknown): void {
  say(jsonText(value));
}

/** A JSON value for people, over several lines. */
export function sayPretty(value: unknown): void {
  say(jsonText(value, 2));
}

/** A value as JSON, in which nothing steers the terminal: JSON lets stand as they are what terminals take for the beginning of a sequence too. */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replaceAll(
    /[\u007f-\u009f]/g,
    (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Colours a text for stdout; as it is where that is no terminal, and where NO_COLOR is set. */
export function paint(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stdout });
}

const STATUS_STYLES: Record<string, Style> = {
  completed: 'green',
  failed: 'red',
  expired: 'red',
  cancelled: 'yellow',
  cancelling: 'yellow',
  running: 'cyan',
  ready: 'green',
  awaiting: 'magenta',
  skipped: 'dim',
  ingesting: 'cyan',
};

export function paintStatus(status: string): string {
  return paint(STATUS_STYLES[status] ?? 'reset', status);
}

/** Lines of a table; a column is as wide as its longest cell. Cells may be coloured. */
export function table(head: string[], rows: string[][]): string[] {
  const widths = head.map((title, column) =>
    Math.max(...[title, ...rows.map((row) => row[column] ?? '')].map((cell) => lengthOf(cell))),
  );
  const line = (cells: string[]) =>
    cells
      .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - lengthOf(cell)))
      .join('  ')
      .trimEnd();
  return [paint('dim', line(head)), ...rows.map(line)];
}

function lengthOf(text: string): number {
  // biome would rather not see the character itself.
  return text.replaceAll(new RegExp(`${String.fromCharCode(27)}\\[[\\d;]*m`, 'g'), '').length;
}

/** Text of others on one line, at most so long: control characters in it would steer the terminal. */
export function oneLine(text: string, most: number): string {
  const flat = text.replaceAll(/[\p{Cc}\s]+/gu, ' ').trim();
  return flat.length > most ? `${flat.slice(0, most - 1).replace(/\p{Surrogate}$/u, '')}…` : flat;
}

/** Text of others as it is, but for what would steer the terminal. */
export function harmless(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n\t]/gu, '');
}

/** `3 s`, `5 min`, `2 h`, `4 d`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} d`;
}

export function ago(time: string | null): string {
  return time === null ? '' : `${duration(Date.now() - Date.parse(time))} ago`;
}
