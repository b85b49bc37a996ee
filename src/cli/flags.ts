import { InvalidArgumentError, Option } from 'commander';
import { findFault, saidOf } from './json-fault.ts';

/** The parts of a JSON Schema that decide on a flag. */
export interface Schema {
  type?: string;
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  description?: string;
}

/** A flag of the command line for a field of an input. */
export interface Flag {
  option: Option;
  /** Where its value goes. */
  path: string[];
}

/** Options of `run` itself. A field of that name is `--field-<name>`. */
const TAKEN = ['input', 'wait', 'json', 'title', 'priority', 'tag', 'delay', 'timeout', 'attempts', 'help'];

/** The flags for the fields of an input; a field of an object that is named has one too, as `--options.seed`. */
export function flagsOf(schema: Schema): Flag[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const long = longOf(name);
    const needed = schema.required?.includes(name) ? ', needed' : '';
    const inner = Object.entries(field.properties ?? {}).flatMap(([key, value]) =>
      flagOf(`${long}.${kebab(key)}`, [name, key], value, ''),
    );
    return [...flagOf(long, [name], field, needed), ...inner];
  });
}

/** The flag of a field, without the dashes before it. */
export function longOf(name: string): string {
  const flag = kebab(name);
  return TAKEN.includes(flag) ? `field-${flag}` : flag;
}

function kebab(name: string): string {
  return name.replaceAll('_', '-');
}

/** `--keep_alive` is taken for `--keep-alive`: commander asks so of what stands for an option, and of no value or word. */
class FieldOption extends Option {
  is(given: string): boolean {
    return given.startsWith('--') && kebab(given) === this.long;
  }
}

function flagOf(long: string, path: string[], schema: Schema, needed: string): Flag[] {
  const kind = kindOf(schema);
  const about = `${schema.description ?? WORDS[kind]}${needed}`;
  if (kind === 'flag')
    return ['', 'no-'].map((no) => ({ option: new FieldOption(`--${no}${long}`, about).helpGroup(GROUP), path }));
  const option = new FieldOption(`--${long} <${kind === 'texts' ? 'text' : kind}>`, about).helpGroup(GROUP);
  if (kind === 'text' && schema.enum) option.choices(schema.enum.map(String));
  else option.argParser((text: string, before: unknown) => READERS[kind](text, schema, before));
  return [{ option, path }];
}

const GROUP = 'Input:';

const WORDS = {
  text: 'a text',
  texts: 'a text; give it several times for several',
  number: 'a number',
  json: 'JSON',
  value: 'a text, or JSON',
  flag: 'yes or no',
} as const;

type Kind = keyof typeof WORDS;

function kindOf({ type, enum: choices, const: only, anyOf, items }: Schema): Kind {
  if (type === 'string' || typeof only === 'string' || choices) return 'text';
  if (type === 'number' || type === 'integer') return 'number';
  if (type === 'boolean') return 'flag';
  if (type === 'array' && items?.type === 'string') return 'texts';
  if (type !== undefined) return 'json';
  return anyOf?.every((one) => kindOf(one) === 'json') ? 'json' : 'value';
}

const READERS: Record<Exclude<Kind, 'flag'>, (text: string, schema: Schema, before: unknown) => unknown> = {
  text: (text) => text,
  texts: (text, _, before) => [...((before as string[] | undefined) ?? []), text],
  number: readNumber,
  json: (text) => readJson(text),
  // What looks like JSON of a kind that the field takes is that; all else is a text.
  value: (text, schema) => {
    const kinds = (schema.anyOf ?? []).map((one) => one.type);
    const any = !schema.anyOf;
    if ((any || kinds.includes('array')) && text.startsWith('[')) return readJson(text);
    if ((any || kinds.includes('object')) && text.startsWith('{')) return readJson(text);
    const isNumber = /^-?\d+(\.\d+)?$/.test(text);
    return isNumber && (kinds.includes('number') || kinds.includes('integer')) ? Number(text) : text;
  },
};

/** A number, of an option or a field. */
export function readNumber(text: string): number {
  if (text.trim() === '' || !Number.isFinite(Number(text))) throw new InvalidArgumentError('It wants a number.');
  return Number(text);
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const fault = findFault(text);
    throw new InvalidArgumentError(fault ? `It wants JSON; see ${saidOf(fault)}.\n${fault.piece}` : 'It wants JSON.');
  }
}

/** Puts a value into an input. */
export function put(input: Record<string, unknown>, [first = '', ...rest]: string[], value: unknown): void {
  if (rest.length === 0) input[first] = value;
  else {
    const inner = { ...(input[first] as Record<string, unknown> | undefined) };
    put(inner, rest, value);
    input[first] = inner;
  }
}

/**
 * Where words go that stand without a flag: the first field that is needed and takes a text, or a conversation.
 * @param given what has a value already, which words do not take the place of
 */
export function placeOfWords(
  schema: Schema,
  given: object = {},
): { name: string; value: (words: string) => unknown } | undefined {
  for (const name of schema.required ?? []) {
    if (Object.hasOwn(given, name)) continue;
    const field = schema.properties?.[name] ?? {};
    if (['role', 'content'].every((key) => field.items?.properties?.[key]))
      return { name, value: (words) => [{ role: 'user', content: words }] };
    const kind = kindOf(field);
    if ((kind === 'text' && !field.enum) || (kind === 'value' && field.anyOf?.some((one) => one.type === 'string')))
      return { name, value: (words) => words };
  }
  return undefined;
}

/** An input as somebody would type it. */
export function exampleOf(type: string, schema: Schema, input: Record<string, unknown>): string {
  const place = placeOfWords(schema);
  const parts = Object.entries(input).map(([name, value]) => {
    if (name === place?.name) {
      const words = Array.isArray(value) ? (value[0] as { content?: unknown } | undefined)?.content : value;
      if (typeof words === 'string' && JSON.stringify(place.value(words)) === JSON.stringify(value))
        return quoted(words);
    }
    return `--${longOf(name)} ${quoted(typeof value === 'string' ? value : JSON.stringify(value))}`;
  });
  return ['sutazai run', type, ...parts].join(' ');
}

function quoted(text: string): string {
  return /^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
