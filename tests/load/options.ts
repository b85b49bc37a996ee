import { parseArgs } from 'node:util';

/** What an option is when it is not given, what it means, and how its text is read. */
export interface Option<T> {
  default: T;
  about: string;
  /** What its text has to be, in words; a switch has no text. */
  wants?: string;
  /** Answers nothing for a text that is not wanted. */
  read(text: string): T | undefined;
}

export type Options = Record<string, Option<unknown>>;
export type Values<O extends Options> = { [Name in keyof O]: O[Name]['default'] };

/** What was typed is not what there is; the message is for whoever typed it. */
export class UsageError extends Error {}

// To JavaScript an empty text is 0.
const numberOf = (text: string) => (text.trim() === '' ? Number.NaN : Number(text));
const isWhole = (value: number, least: number) => Number.isSafeInteger(value) && value >= least;

export const whole = (value: number, about: string, [least, most] = [1, Number.MAX_SAFE_INTEGER]): Option<number> => ({
  default: value,
  about,
  wants: `a whole number ${most === Number.MAX_SAFE_INTEGER ? `of ${least} or more` : `from ${least} to ${most}`}`,
  read: (text) => (isWhole(numberOf(text), least) && numberOf(text) <= most ? numberOf(text) : undefined),
});

export const number = <D extends number | undefined>(value: D, about: string): Option<number | D> => ({
  default: value,
  about,
  wants: 'a number of 0 or more',
  read: (text) => (numberOf(text) >= 0 && Number.isFinite(numberOf(text)) ? numberOf(text) : undefined),
});

export const wholes = (value: number[], about: string): Option<number[]> => ({
  default: value,
  about,
  wants: 'whole numbers of 0 or more, with commas between them',
  read(text) {
    const all = text.split(',').map(numberOf);
    return all.every((one) => isWhole(one, 0)) ? all : undefined;
  },
});

export const choice = <T extends string>(value: NoInfer<T>, choices: readonly T[], about: string): Option<T> => ({
  default: value,
  about: `${about}: ${choices.join(' or ')}`,
  wants: choices.join(' or '),
  read: (text) => choices.find((one) => one === text),
});

/** Those of the names that have the text in them: all where it is empty. */
export const part = (names: readonly string[], about: string): Option<string> => ({
  default: '',
  about: `${about} whose name has this in it: ${names.join('; ')}`,
  wants: 'a part of a name listed below',
  read: (text) => (names.some((name) => name.includes(text)) ? text : undefined),
});

export const text = (about: string): Option<string> => ({
  default: '',
  about,
  wants: 'a text',
  read: (given) => given,
});

export const flag = (about: string): Option<boolean> => ({ default: false, about, read: () => undefined });

/** What the options come to; throws a `UsageError` that says what is wrong with which. */
export function readOptions<O extends Options>(options: O, args: string[]): Values<O> {
  const all = Object.entries(options);
  const values = new Map<string, unknown>(all.map(([name, option]) => [name, option.default]));
  const types = all.map(([name, { wants }]) => [name, { type: wants ? 'string' : 'boolean' } as const]);
  // Not strict: what parseArgs itself says goes on for lines, and speaks of what no bench has.
  const { tokens } = parseArgs({ args, options: Object.fromEntries(types), strict: false, tokens: true });
  for (const token of tokens) {
    if (token.kind === 'option-terminator') continue;
    if (token.kind === 'positional') throw new UsageError(`${JSON.stringify(token.value)} belongs to no option.`);
    const option = Object.hasOwn(options, token.name) ? options[token.name] : undefined;
    if (!option) throw new UsageError(`There is no option ${token.rawName}.`);
    values.set(token.name, option.wants ? wanted(option, token) : on(token));
  }
  return Object.fromEntries(values) as Values<O>;
}

interface Given {
  rawName: string;
  value?: string;
  inlineValue?: boolean;
}

function wanted({ wants, read }: Option<unknown>, { rawName, value, inlineValue }: Given): unknown {
  const isThere = value !== undefined && (inlineValue || !value.startsWith('-'));
  if (!isThere) throw new UsageError(`${rawName} wants ${wants}, and nothing is given.`);
  const found = read(value);
  if (found === undefined) throw new UsageError(`${rawName} wants ${wants}, not ${JSON.stringify(value)}.`);
  return found;
}

function on({ rawName, value }: Given): true {
  if (value !== undefined) throw new UsageError(`${rawName} is a switch and takes no value.`);
  return true;
}

/** The options, a line each, with what they are by default. */
export function listOptions(options: Options): string {
  return columns(
    Object.entries(options).map(([name, { default: value, about, wants }]) => {
      const shown = value === undefined || value === '' ? '…' : String(value);
      return [`--${name}${wants ? ` ${shown}` : ''}`, about];
    }),
  );
}

export function columns(rows: Array<[string, string]>): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join('\n');
}
