import * as v from 'valibot';

/** The name of a model, as Ollama takes it: optional host and namespace, name, optional tag. */
export const modelName = v.pipe(
  v.string(),
  v.minLength(1, 'must not be empty'),
  v.maxLength(200, 'must be at most 200 characters'),
  v.regex(/^\w[\w.-]*(?:[/:]\w[\w.-]*)*$/, 'must be the name of a model, such as tinyllama or tinyllama:latest'),
);

export const collectionName = v.pipe(
  v.string(),
  v.regex(
    /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$/,
    'must be 1–100 letters, digits, dots, dashes or underscores, the first a letter or a digit',
  ),
);

/** What its user calls a point. */
const wantsPointId = 'must be a text of 1–200 characters or a whole number from 0';
export const pointId = v.union(
  [
    v.pipe(v.string(wantsPointId), v.minLength(1, wantsPointId), v.maxLength(200, wantsPointId)),
    v.pipe(v.number(wantsPointId), v.safeInteger(wantsPointId), v.minValue(0, wantsPointId)),
  ],
  wantsPointId,
);

/** A whole number within bounds, which are said in whatever way it is wrong. */
export function wholeNumber(min: number, max: number) {
  const wants = `must be a whole number from ${min} to ${max}`;
  return v.pipe(v.number(wants), v.integer(wants), v.minValue(min, wants), v.maxValue(max, wants));
}

/** One vector; the collection decides on its length. */
export const vector = v.pipe(
  v.array(v.pipe(v.number(), v.finite('must be a finite number'))),
  v.minLength(1, 'must not be empty'),
  v.maxLength(65_536, 'must have at most 65536 dimensions'),
);

/** An object of these fields and no others. That of valibot alone would take a list as well and make an object of it. */
export function strictObject<const E extends v.ObjectEntries>(entries: E): v.StrictObjectSchema<E, undefined> {
  const schema = v.strictObject(entries);
  const run = schema['~run'];
  return Object.assign(schema, {
    '~run'(...[dataset, config]: Parameters<typeof run>): ReturnType<typeof run> {
      if (!Array.isArray(dataset.value)) return run.call(this, dataset, config);
      v._addIssue(schema, 'type', dataset, config);
      return dataset as unknown as ReturnType<typeof run>;
    },
  });
}

/** Names that a record of valibot leaves out without a word. */
const LEFT_OUT = ['constructor', 'prototype'];

/** An object of names and values like these, whatever the names are. */
export function record<const K extends v.GenericSchema<string, string>, const V extends v.GenericSchema>(
  key: K,
  value: V,
): v.RecordSchema<K, V, undefined> {
  const schema = v.record(key, value);
  const run = schema['~run'];
  return Object.assign(schema, {
    '~run'(...[dataset, config]: Parameters<typeof run>): ReturnType<typeof run> {
      const input = dataset.value as object | null;
      const result = run.call(this, dataset, config);
      const names = result.typed && input ? LEFT_OUT.filter((name) => Object.hasOwn(input, name)) : [];
      for (const name of names) {
        const named = v.pipe(
          v.unknown(),
          v.transform(() => name),
          key,
        );
        for (const rule of [named, value]) {
          const one = v.object({ [name]: rule })['~run']({ value: input }, config);
          for (const issue of one.issues ?? []) v._addIssue(schema, 'value', result, config, issue as never);
          Object.assign(result.value as object, one.value);
        }
      }
      return result;
    },
  });
}

/** At most so many characters, as Postgres and JSON Schema count them: one outside of the basic plane is one, not two. */
export function maxCharacters(max: number): v.MaxLengthAction<string, number, string> {
  const action = v.maxLength<string, number, string>(max, `must be at most ${max} characters`);
  const run = action['~run'];
  return Object.assign(action, {
    '~run'(...[dataset, config]: Parameters<typeof run>): ReturnType<typeof run> {
      const { value } = dataset;
      // Only what is long in units has to be counted, and no text has more than two of them for a character.
      const long = typeof value === 'string' && value.length > max && value.length <= 2 * max;
      return long && [...value].length <= max ? (dataset as ReturnType<typeof run>) : run.call(this, dataset, config);
    },
  });
}

/** Any JSON object. A record alone would take a list as well and make an empty object of it. */
export const jsonObject = v.pipe(
  v.unknown(),
  v.check((given) => typeof given === 'object' && given !== null && !Array.isArray(given), 'must be an object'),
  v.metadata({ type: 'object' }),
  record(v.string(), v.unknown()),
);

const isoTimestamp = v.pipe(v.string(), v.isoTimestamp());

/** A time in ISO 8601, as a Date; the year 0 and days that a month does not have are refused, as Postgres would. */
export const time = v.pipe(
  v.string(),
  v.check((text) => v.is(isoTimestamp, text) && isRealTime(text), 'must be a time such as 2030-01-31T12:00:00Z'),
  v.metadata({ format: 'date-time' }),
  v.transform((text) => new Date(text)),
);

function isRealTime(text: string): boolean {
  const [year = 0, month = 0, day = 0] = text.slice(0, 10).split('-').map(Number);
  const days = new Date(Date.UTC(2000 + (year % 400), month, 0)).getUTCDate();
  // An offset may lead out of the years that have four digits.
  const utc = new Date(text).getUTCFullYear();
  return year > 0 && day <= days && utc > 0 && utc <= 9999;
}

/** Which model answered, and why that one. */
export const modelChoice = {
  model: v.string(),
  model_reason: v.picklist(['requested', 'default', 'fallback', 'first_available', 'pulled']),
  model_missing: v.optional(
    v.pipe(
      v.string(),
      v.description('The model that was asked for, or is the default, where it is not there: another one answered.'),
    ),
  ),
};
