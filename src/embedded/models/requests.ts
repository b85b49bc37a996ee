import * as v from 'valibot';
import { httpError } from './errors.ts';

const number = v.nullish(v.number());
const text = v.nullish(v.string());

const modelOptions = v.looseObject({
  num_predict: number,
  num_ctx: number,
  temperature: number,
  top_p: number,
  top_k: number,
  min_p: number,
  seed: number,
  repeat_penalty: number,
  repeat_last_n: number,
  presence_penalty: number,
  frequency_penalty: number,
  stop: v.nullish(v.union([v.string(), v.array(v.string())])),
});

const common = {
  model: text,
  keep_alive: v.nullish(v.union([v.string(), v.number()])),
  options: v.nullish(modelOptions),
};

const answering = {
  ...common,
  stream: v.nullish(v.boolean()),
  format: v.optional(v.unknown()),
  think: v.nullish(v.union([v.boolean(), v.string()])),
  truncate: v.nullish(v.boolean()),
  shift: v.nullish(v.boolean()),
};

/** What `/api/generate` and `/api/chat` have in common. */
export type AnsweringRequest = v.InferOutput<v.ObjectSchema<typeof answering, undefined>>;

const images = v.nullish(v.array(v.unknown()));

export const generateRequest = v.looseObject({
  ...answering,
  prompt: text,
  system: text,
  suffix: text,
  template: text,
  raw: v.nullish(v.boolean()),
  images,
});

export const chatRequest = v.looseObject({
  ...answering,
  messages: v.nullish(v.array(v.looseObject({ role: v.string(), content: text, images }))),
  tools: v.nullish(v.array(v.unknown())),
});

export const embedRequest = v.looseObject({
  ...common,
  input: v.optional(v.unknown()),
  truncate: v.nullish(v.boolean()),
  dimensions: number,
});

export const embeddingsRequest = v.looseObject({ ...common, prompt: text });

/** `/api/show`, `/api/pull` and `/api/delete`; `name` is the older spelling of `model`. */
export const modelRequest = v.looseObject({ model: text, name: text, stream: v.nullish(v.boolean()) });

/** Ollama's `options`, those that have an effect here. */
export type ModelOptions = {
  num_predict?: number;
  num_ctx?: number;
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  seed?: number;
  repeat_penalty?: number;
  repeat_last_n?: number;
  presence_penalty?: number;
  frequency_penalty?: number;
  stop?: string | string[];
};

/**
 * Reads the body of a request.
 * @throws 400 with Ollama's texts for a missing body and for one that is no JSON or of the wrong shape
 */
export function parseBody<Schema extends v.GenericSchema>(schema: Schema, body: string): v.InferOutput<Schema> {
  if (body.trim() === '') throw httpError(400, 'missing request body');
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch (error) {
    throw httpError(400, `invalid JSON: ${error instanceof Error ? error.message : 'unreadable'}`);
  }
  const result = v.safeParse(schema, json);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw httpError(400, `invalid request: ${v.getDotPath(issue) ?? 'body'}: ${issue.message}`);
}

/** Options without the nulls that stand for "not given". */
export function givenOptions(options: v.InferOutput<typeof modelOptions> | null | undefined): ModelOptions {
  return Object.fromEntries(Object.entries(options ?? {}).filter(([, value]) => value !== null && value !== undefined));
}

const UNITS: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/**
 * Ollama's `keep_alive` in milliseconds: a number of seconds or a duration of Go ("5m", "1h30m"); negative is for ever.
 * @throws 400 for a text that is no duration
 */
export function keepAliveMs(value: string | number | null | undefined): number | undefined {
  if (value === null || value === undefined) return undefined;
  const ms = typeof value === 'number' ? value * 1000 : parseDuration(value);
  return ms < 0 ? Number.POSITIVE_INFINITY : ms;
}

function parseDuration(value: string): number {
  const [, sign, rest = ''] = /^([-+]?)(.*)$/.exec(value.trim()) ?? [];
  if (rest === '0') return 0;
  let ms = 0;
  const unread = rest.replace(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/g, (_, amount, unit) => {
    ms += Number(amount) * (UNITS[unit] ?? 0);
    return '';
  });
  if (rest === '' || unread !== '') throw httpError(400, `time: invalid duration ${JSON.stringify(value)}`);
  return sign === '-' ? -ms : ms;
}
