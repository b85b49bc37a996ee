import * as v from 'valibot';
import type { FilledText } from '../expressions/index.ts';
import { fieldErrors } from '../tasks/issues.ts';

type Place = Array<string | number>;

/** What an expression of this type gives: what that is called, and one of the kind. What is not here may be anything. */
const KINDS: Record<string, { called: string; sample: unknown }> = {
  bool: { called: 'true or false', sample: true },
  int: { called: 'a number', sample: 1 },
  uint: { called: 'a number', sample: 1 },
  double: { called: 'a number', sample: 1 },
  string: { called: 'a text', sample: 'x' },
  'google.protobuf.Timestamp': { called: 'a text', sample: 'x' },
  list: { called: 'a list', sample: [] },
  map: { called: 'an object', sample: {} },
  null: { called: 'null', sample: null },
};

/** What the type of an expression is called towards users. */
export const kindOf = (type: string) => KINDS[type]?.called ?? type;

/** Rules that ask for nothing but a kind of value: what is of another kind breaks them whatever it is. */
const ASK_FOR_A_KIND = new Set([
  'string',
  'number',
  'boolean',
  'array',
  'object',
  'strict_object',
  'loose_object',
  'record',
]);
const NAMES: Record<string, string> = {
  string: 'a text',
  number: 'a number',
  boolean: 'true or false',
  array: 'a list',
};

/**
 * Why an input cannot be one of a task type, whatever its expressions give. Of these no more is known than their types.
 * @param texts of the input that hold expressions
 */
export function misfits(
  schema: v.GenericSchema,
  input: unknown,
  texts: readonly FilledText[],
): Array<{ place: Place; detail: string }> {
  const kinds = new Map(texts.filter(({ type }) => type in KINDS).map((text) => [JSON.stringify(text.place), text]));
  const { issues = [] } = v.safeParse(schema, withSamples(input, [...kinds.values()]));
  return issues.flatMap((issue) => {
    const place = (issue.path ?? []).map(({ key }) => key as string | number);
    const kind = ASK_FOR_A_KIND.has(issue.type) ? kinds.get(JSON.stringify(place)) : undefined;
    if (kind) return [{ place, detail: `must be ${NAMES[issue.type] ?? 'an object'}, not ${kindOf(kind.type)}` }];
    if (texts.some((one) => touches(one.place, place))) return [];
    return fieldErrors([issue], '').map(({ detail }) => ({ place, detail }));
  });
}

function withSamples(input: unknown, texts: FilledText[]): unknown {
  if (texts.length === 0) return input;
  const whole = { input: structuredClone(input) };
  for (const { place, type } of texts) {
    const keys = ['input', ...place];
    const last = keys.pop() as string;
    const parent = keys.reduce<unknown>((one, key) => (one as Record<string, unknown>)[key], whole);
    (parent as Record<string, unknown>)[last] = KINDS[type]?.sample;
  }
  return whole.input;
}

/** Whether one of two places is in the other one. */
export function touches(one: Place, other: Place): boolean {
  const length = Math.min(one.length, other.length);
  return one.slice(0, length).every((key, index) => String(key) === String(other[index]));
}
