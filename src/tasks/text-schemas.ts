import * as v from 'valibot';
import { jsonSchema } from './json-schema.ts';
import { jsonObject, modelName, strictObject, wholeNumber } from './schemas.ts';

const number = v.optional(v.number());
const integer = v.optional(v.pipe(v.number(), v.integer('must be a whole number')));

/** More than any model takes or writes. */
export const MAX_TOKENS = 1_048_576;

const tokens = (min: number) => v.optional(wholeNumber(min, MAX_TOKENS));

/** Ollama's options for what is written. Those for the machine (`num_gpu`, `num_thread`, `use_mmap` …) are its operator's, so they are refused. */
const modelOptions = strictObject({
  ...{ num_predict: tokens(-2), num_ctx: tokens(1), num_keep: tokens(-1), seed: integer },
  ...{ temperature: number, top_k: integer, top_p: number, min_p: number, typical_p: number },
  ...{ repeat_last_n: integer, repeat_penalty: number, presence_penalty: number, frequency_penalty: number },
  stop: v.optional(v.union([v.string(), v.array(v.string())], 'must be a text or a list of texts')),
});

const MAX_KEEP_SECONDS = 86_400;
const WANTS_KEEP = 'must be from 0 to 24 hours: seconds, or a text such as 90s, 10m or 2h';
const UNITS = { ms: 0.001, s: 1, m: 60, h: 3_600 };

/** How many seconds a duration such as `1h30m` has; `undefined` for anything else. */
function secondsOf(text: string): number | undefined {
  if (!/^(\d{1,9}(ms|s|m|h)){1,4}$/.test(text)) return text === '0' ? 0 : undefined;
  const parts = [...text.matchAll(/(\d+)(ms|s|m|h)/g)];
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * UNITS[unit as keyof typeof UNITS], 0);
}

const keepAlive = v.pipe(
  v.union([v.string(), v.number()], WANTS_KEEP),
  v.check((given) => {
    const seconds = typeof given === 'number' ? given : secondsOf(given);
    return seconds !== undefined && seconds >= 0 && seconds <= MAX_KEEP_SECONDS;
  }, WANTS_KEEP),
  v.description(
    'How long the model stays in memory after the call. For ever, a host keeps it by its own OLLAMA_KEEP_ALIVE alone.',
  ),
);

/** What chat and generate share, in Ollama's words. */
export const textRequest = {
  model: v.optional(modelName),
  fallback: v.optional(
    v.pipe(
      v.boolean(),
      v.description('Whether another model may answer where `model` is not there. It may where this is not given.'),
    ),
  ),
  options: v.optional(modelOptions),
  format: v.optional(v.union([v.literal('json'), jsonSchema], 'must be "json" or a JSON Schema')),
  partial: v.optional(
    v.pipe(
      v.boolean(),
      v.description(
        'Whether an answer in a `format` that was cut off (`done_reason` is `length`) is taken as the text that it is, without `parsed`. It fails where this is not given.',
      ),
    ),
  ),
  think: v.optional(
    v.union([v.boolean(), v.picklist(['low', 'medium', 'high'])], 'must be true, false, low, medium or high'),
  ),
  keep_alive: v.optional(keepAlive),
};

export const images = v.array(v.pipe(v.string(), v.minLength(1, 'must not be empty'), v.base64('must be base64')));

const called = v.looseObject({ name: v.pipe(v.string(), v.minLength(1, 'must not be empty')), arguments: jsonObject });

/** A call of a tool as models make it. What else a host says of it is kept. */
const toolCall = v.looseObject({ function: called });

const toolName = v.pipe(
  v.string(),
  v.regex(/^[\w.:-]{1,128}$/, 'must be 1–128 letters, digits, dots, dashes or underscores'),
);

/** Tools in the words of Ollama, which are those of OpenAI. They are passed on as they are, and called by whoever submitted the task. */
export const tools = v.array(
  v.looseObject({
    type: v.literal('function', 'must be function'),
    function: v.looseObject({
      name: toolName,
      description: v.optional(v.string()),
      parameters: v.optional(jsonObject),
    }),
  }),
);

const said = {
  content: v.string(),
  images: v.optional(images),
  thinking: v.optional(v.string()),
  tool_calls: v.optional(v.array(toolCall)),
  tool_name: v.optional(v.string()),
};

export const message = strictObject({
  role: v.picklist(['system', 'user', 'assistant', 'tool'], 'must be one of system, user, assistant, tool'),
  ...said,
});

/** What a model said. It may call tools in ways that nobody foresaw. */
export const answeredMessage = v.strictObject({
  role: v.literal('assistant'),
  content: v.string(),
  thinking: v.optional(v.pipe(v.string(), v.description('What the model thought, where it says that apart.'))),
  tool_calls: v.optional(v.array(v.unknown())),
});

/** What chat and generate answer beside the text. */
export const textAnswer = {
  done_reason: v.pipe(
    v.string(),
    v.description('`stop`, or `length` where the answer was cut off at `options.num_predict` or the context.'),
  ),
  parsed: v.optional(
    v.pipe(v.unknown(), v.description('Where `format` was given: the text as JSON, which fits the schema.')),
  ),
};
