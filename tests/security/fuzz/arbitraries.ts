import fc from 'fast-check';
import { HOSTILE_TEXTS, HOSTILE_VALUES } from './hostile.ts';

/** What is read of a JSON Schema. */
export interface JsonSchema {
  type?: string;
  const?: unknown;
  enum?: unknown[];
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  allOf?: JsonSchema[];
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: boolean | JsonSchema;
  items?: JsonSchema;
  minItems?: number;
  maxItems?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  format?: string;
  minimum?: number;
  maximum?: number;
}

/** Values that mean something, by the name of the field: no schema says them. */
export type Hints = Record<string, fc.Arbitrary<unknown>>;

const MAX_ITEMS = 4;
const MAX_TEXT = 40;

/** Any JSON, small. */
export const anyJson = fc.jsonValue({ maxDepth: 3 });
const hostileText = fc.constantFrom(...HOSTILE_TEXTS);
const hostileValue = fc.oneof(fc.constantFrom(...HOSTILE_VALUES), hostileText, anyJson);

/** Values that the schema takes, as far as the schema tells. */
export function valid(schema: JsonSchema, hints: Hints = {}): fc.Arbitrary<unknown> {
  if ('const' in schema) return fc.constant(schema.const);
  if (schema.enum) return fc.constantFrom(...schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return fc.oneof(...choices.map((choice) => valid(choice, hints)));
  if (schema.allOf) return valid(Object.assign({}, ...schema.allOf), hints);
  switch (schema.type) {
    case 'string':
      return text(schema);
    case 'integer':
      return fc.integer({ min: schema.minimum ?? -1_000, max: schema.maximum ?? 1_000 });
    case 'number':
      return fc.double({ min: schema.minimum ?? -1e6, max: schema.maximum ?? 1e6, noNaN: true });
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'array':
      return fc.array(valid(schema.items ?? {}, hints), {
        minLength: schema.minItems ?? 0,
        maxLength: Math.max(schema.minItems ?? 0, Math.min(schema.maxItems ?? MAX_ITEMS, MAX_ITEMS)),
      });
    case 'object':
      return object(schema, hints);
    default:
      return anyJson;
  }
}

function text({ pattern, format, minLength = 0, maxLength = MAX_TEXT }: JsonSchema): fc.Arbitrary<string> {
  if (format === 'uuid') return fc.uuid();
  if (format === 'email') return fc.emailAddress();
  if (pattern) return fc.stringMatching(new RegExp(pattern), { size: '-1' });
  const length = { minLength, maxLength: Math.max(minLength, Math.min(maxLength, MAX_TEXT)) };
  return fc.oneof(fc.string(length), fc.string({ ...length, unit: 'grapheme' }));
}

function object({ properties = {}, required = [], additionalProperties }: JsonSchema, hints: Hints) {
  const known = Object.entries(properties).map(([name, field]) => [name, hints[name] ?? valid(field, hints)] as const);
  if (known.length === 0 && additionalProperties !== false)
    return fc.dictionary(fc.string({ maxLength: MAX_TEXT }), anyJson, { maxKeys: MAX_ITEMS });
  const optional = Object.keys(properties).filter((name) => !required.includes(name));
  // Each optional field is there in one of four: with all of them at once something would be wrong in nearly each.
  return fc
    .tuple(fc.record(Object.fromEntries(known)), fc.record(Object.fromEntries(optional.map((name) => [name, rare]))))
    .map(([all, kept]) => Object.fromEntries(Object.entries(all).filter(([name]) => kept[name] !== false)));
}

const rare = fc.integer({ min: 0, max: 3 }).map((throwOfDice) => throwOfDice === 0);

/** Values with something wrong in one place: a field that is missing, one that nobody knows, or a value that hurts. */
export function nearlyValid(schema: JsonSchema, hints: Hints = {}): fc.Arbitrary<unknown> {
  const place = fc.nat(1_000);
  const change = fc.oneof(
    fc.record({ drop: fc.constant(true) }),
    fc.record({ replace: hostileValue }),
    fc.record({
      add: fc.tuple(fc.oneof(hostileText, fc.constantFrom('id', 'role', 'user_id', 'status')), hostileValue),
    }),
  );
  return fc.tuple(valid(schema, hints), place, change).map(([value, at, how]) => changed(value, at, how));
}

type Change = { drop?: true; replace?: unknown; add?: [string, unknown] };

/** Changes the value at one of its places, counted from the outside in. */
function changed(value: unknown, at: number, how: Change): unknown {
  const copy: { value: unknown } = structuredClone({ value });
  const places: Array<[Record<string, unknown>, string]> = [];
  const collect = (holder: object) => {
    for (const [name, inner] of Object.entries(holder)) {
      places.push([holder as Record<string, unknown>, name]);
      if (inner !== null && typeof inner === 'object') collect(inner);
    }
  };
  collect(copy);
  const [holder, name] = places[at % places.length] as [Record<string, unknown>, string];
  if ('replace' in how) holder[name] = how.replace;
  else if (how.add === undefined) delete holder[name];
  else {
    const into = holder[name];
    const target = into !== null && typeof into === 'object' && !Array.isArray(into) ? into : holder;
    Object.defineProperty(target, how.add[0], { value: how.add[1], enumerable: true, configurable: true });
  }
  return copy.value;
}

/** Values that have nothing to do with the schema. */
export const hostile: fc.Arbitrary<unknown> = fc.oneof(
  hostileValue,
  fc.dictionary(fc.oneof(hostileText, fc.string()), hostileValue, { maxKeys: MAX_ITEMS }),
);
