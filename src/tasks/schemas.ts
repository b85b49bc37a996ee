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
  v.regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$/, 'must be 1–100 letters, digits, dots, dashes or underscores'),
);

/** One vector; the collection decides on its length. */
export const vector = v.pipe(
  v.array(v.pipe(v.number(), v.finite('must be a finite number'))),
  v.minLength(1, 'must not be empty'),
  v.maxLength(65_536, 'must have at most 65536 dimensions'),
);

/** Any JSON object. A record alone would take a list as well and make an empty object of it. */
export const jsonObject = v.pipe(
  v.unknown(),
  v.check((given) => typeof given === 'object' && given !== null && !Array.isArray(given), 'must be an object'),
  v.record(v.string(), v.unknown()),
);

const number = v.optional(v.number());
const wholeNumber = v.optional(v.pipe(v.number(), v.integer('must be a whole number')));

/** Ollama's options for what is written. Those for the machine (`num_gpu`, `num_thread`, `use_mmap` …) are its operator's, so they are refused. */
const modelOptions = v.strictObject({
  ...{ num_predict: wholeNumber, num_ctx: wholeNumber, num_keep: wholeNumber, seed: wholeNumber },
  ...{ temperature: number, top_k: wholeNumber, top_p: number, min_p: number, typical_p: number },
  ...{ repeat_last_n: wholeNumber, repeat_penalty: number, presence_penalty: number, frequency_penalty: number },
  stop: v.optional(v.union([v.string(), v.array(v.string())], 'must be a text or a list of texts')),
});

/** What chat and generate share, in Ollama's words. */
export const textRequest = {
  model: v.optional(modelName),
  options: v.optional(modelOptions),
  format: v.optional(v.union([v.literal('json'), jsonObject], 'must be "json" or a JSON Schema')),
  keep_alive: v.optional(v.union([v.string(), v.number()])),
};

const images = v.array(v.pipe(v.string(), v.base64('must be base64')));

export const message = v.strictObject({
  role: v.picklist(['system', 'user', 'assistant', 'tool'], 'must be one of system, user, assistant, tool'),
  content: v.string(),
  images: v.optional(images),
  tool_calls: v.optional(v.array(v.unknown())),
  tool_name: v.optional(v.string()),
});

export { images };

/** Which model answered, and why that one. */
export const modelChoice = {
  model: v.string(),
  model_reason: v.picklist(['requested', 'default', 'first_available', 'pulled']),
};
