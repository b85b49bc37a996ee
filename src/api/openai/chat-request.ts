import * as v from 'valibot';
import { findUnstorable } from '../../tasks/clean.ts';
import { modelName, record } from '../../tasks/schemas.ts';
import type { ChatRequest, Message } from '../../tasks/tools.ts';
import { invalid } from '../validate.ts';
import { imageData, imageUrl, number, text, tokens, unsupported } from './fields.ts';

const textPart = v.strictObject({ type: v.literal('text'), text: v.string() });
const imagePart = v.strictObject({
  type: v.literal('image_url'),
  image_url: v.strictObject({
    url: imageUrl,
    detail: v.nullish(v.picklist(['auto', 'low', 'high', 'original'])),
  }),
});
const ofText = v.union([v.string(), v.array(textPart)], 'must be a text or a list of parts of the type text');
const parts = v.array(v.variant('type', [textPart, imagePart], 'must be a part of the type text or image_url'));

const call = v.strictObject({
  id: text,
  type: v.literal('function', 'must be function'),
  function: v.strictObject({ name: text, arguments: v.string() }),
});

const name = v.nullish(v.string());
const message = v.variant(
  'role',
  [
    v.strictObject({ role: v.picklist(['system', 'developer']), content: ofText, name }),
    v.strictObject({
      role: v.literal('user'),
      content: v.union([v.string(), parts], 'must be a text or a list of parts of the types text and image_url'),
      name,
    }),
    v.strictObject({
      role: v.literal('assistant'),
      content: v.nullish(ofText),
      reasoning: v.nullish(v.string()),
      refusal: v.nullish(v.string()),
      tool_calls: v.nullish(v.array(call)),
      ...{ audio: unsupported, function_call: unsupported, annotations: v.nullish(v.array(v.unknown())), name },
    }),
    v.strictObject({ role: v.literal('tool'), tool_call_id: text, content: ofText }),
  ],
  'must be one of system, developer, user, assistant, tool',
);

const tool = v.strictObject({
  type: v.literal('function', 'must be function'),
  function: v.strictObject({
    name: v.string(),
    description: v.nullish(v.string()),
    parameters: v.nullish(record(v.string(), v.unknown())),
    strict: v.nullish(v.boolean()),
  }),
});

const format = v.variant('type', [
  v.strictObject({ type: v.literal('text') }),
  v.strictObject({ type: v.literal('json_object') }),
  v.strictObject({
    type: v.literal('json_schema'),
    json_schema: v.strictObject({
      name: v.string(),
      description: v.nullish(v.string()),
      schema: v.optional(record(v.string(), v.unknown()), {}),
      strict: v.nullish(v.boolean()),
    }),
  }),
]);

/** A chat as OpenAI's clients ask for it. Fields that it does not know are refused, as OpenAI does. */
export const chatRequest = v.strictObject({
  model: modelName,
  messages: v.pipe(v.array(message), v.minLength(1, 'must hold at least one message')),
  tools: v.nullish(v.array(tool)),
  tool_choice: v.nullish(
    v.picklist(['auto', 'none'], 'must be auto or none: a model cannot be made to call a tool here'),
  ),
  parallel_tool_calls: v.nullish(v.literal(true, 'must be true: how many tools it calls is up to the model')),
  response_format: v.nullish(format),
  ...{ temperature: number, top_p: number, presence_penalty: number, frequency_penalty: number },
  seed: v.nullish(v.pipe(v.number(), v.integer('must be a whole number'))),
  stop: v.nullish(v.union([v.string(), v.array(v.string())], 'must be a text or a list of texts')),
  max_tokens: tokens,
  max_completion_tokens: tokens,
  reasoning_effort: v.nullish(
    v.picklist(['none', 'minimal', 'low', 'medium', 'high'], 'must be one of none, minimal, low, medium, high'),
  ),
  n: v.nullish(v.literal(1, 'must be 1: each request is answered once')),
  stream: v.nullish(v.boolean()),
  stream_options: v.nullish(
    v.strictObject({ include_usage: v.nullish(v.boolean()), include_obfuscation: v.nullish(v.boolean()) }),
  ),
  metadata: v.nullish(record(v.string(), v.string())),
  user: v.nullish(v.string()),
  ...{ safety_identifier: v.nullish(v.string()), prompt_cache_key: v.nullish(v.string()) },
  prompt_cache_retention: v.nullish(v.string()),
  store: v.nullish(v.boolean()),
  service_tier: v.nullish(v.picklist(['auto', 'default'], 'must be auto or default')),
  logprobs: v.nullish(v.literal(false, 'must be false: probabilities are not answered')),
  ...{ top_logprobs: unsupported, logit_bias: unsupported, prediction: unsupported, audio: unsupported },
  ...{ functions: unsupported, function_call: unsupported, web_search_options: unsupported, verbosity: unsupported },
  modalities: v.nullish(v.array(v.literal('text', 'must be text: nothing else is answered'))),
});

export type ChatBody = v.InferOutput<typeof chatRequest>;

/** Where the input of a task has what stands elsewhere in the body. */
export const CHAT_PLACES = [
  ['/format', '/response_format/json_schema/schema'],
  ['/options/num_predict', '/max_completion_tokens'],
  ['/options', ''],
] as const;

/** The input of the task of a chat. @throws ProblemError for what only the messages together can tell */
export function chatInputOf(body: ChatBody): ChatRequest {
  const options = given({
    ...{ temperature: body.temperature, top_p: body.top_p, seed: body.seed, stop: body.stop },
    ...{ presence_penalty: body.presence_penalty, frequency_penalty: body.frequency_penalty },
    num_predict: body.max_completion_tokens ?? body.max_tokens,
  });
  const tools = body.tool_choice === 'none' ? [] : (body.tools ?? []);
  const format = formatOf(body.response_format);
  return given({
    model: body.model,
    fallback: false,
    messages: messagesOf(body.messages),
    tools: tools.length > 0 ? tools.map(toolOf) : undefined,
    format,
    // As OpenAI does: what is cut off is told by `finish_reason`.
    partial: format === undefined ? undefined : true,
    think: thinkOf(body.reasoning_effort),
    options: Object.keys(options).length > 0 ? options : undefined,
  }) as unknown as ChatRequest;
}

/** The same without what is not said. */
function given(all: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined && value !== null));
}

function thinkOf(effort: ChatBody['reasoning_effort']): boolean | string | undefined {
  if (effort === 'none') return false;
  return effort === 'minimal' ? 'low' : (effort ?? undefined);
}

function formatOf(asked: ChatBody['response_format']): ChatRequest['format'] {
  if (asked?.type === 'json_object') return 'json';
  return asked?.type === 'json_schema' ? asked.json_schema.schema : undefined;
}

/** Ollama wants parameters also of what takes none. */
function toolOf({ type, function: { name, description, parameters } }: v.InferOutput<typeof tool>) {
  return { type, function: given({ name, description, parameters: parameters ?? { type: 'object', properties: {} } }) };
}

function messagesOf(all: ChatBody['messages']): Message[] {
  const names = new Map<string, string>();
  return all.map((one, index): Message => {
    if (one.role === 'tool') {
      const tool_name = names.get(one.tool_call_id);
      if (tool_name === undefined)
        throw invalid([
          { pointer: `#/messages/${index}/tool_call_id`, detail: 'is not the id of a tool call in a message before' },
        ]);
      return { role: 'tool', content: textOf(one.content), tool_name };
    }
    if (one.role === 'assistant') {
      for (const { id, function: called } of one.tool_calls ?? []) names.set(id, called.name);
      const calls = (one.tool_calls ?? []).map((made, at) => callOf(made, `#/messages/${index}/tool_calls/${at}`));
      return {
        role: 'assistant',
        content: textOf(one.content ?? one.refusal ?? ''),
        ...(one.reasoning ? { thinking: one.reasoning } : {}),
        ...(calls.length > 0 ? { tool_calls: calls } : {}),
      };
    }
    if (one.role !== 'user') return { role: 'system', content: textOf(one.content) };
    const images = typeof one.content === 'string' ? [] : one.content.flatMap((part) => imageOf(part));
    return { role: 'user', content: textOf(one.content), ...(images.length > 0 ? { images } : {}) };
  });
}

type Part = v.InferOutput<typeof parts>[number];

function textOf(content: string | Part[]): string {
  if (typeof content === 'string') return content;
  return content.flatMap((part) => (part.type === 'text' ? part.text : [])).join('\n');
}

function imageOf(part: Part): string[] {
  return part.type === 'image_url' ? [imageData(part.image_url.url)] : [];
}

/** OpenAI has the arguments as text, Ollama as an object. */
function callOf({ id, function: { name, arguments: text } }: v.InferOutput<typeof call>, pointer: string) {
  let parsed: unknown;
  try {
    parsed = text === '' ? {} : JSON.parse(text);
  } catch {
    parsed = undefined;
  }
  const wrong = (detail: string) => invalid([{ pointer: `${pointer}/function/arguments`, detail }]);
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw wrong('must be a JSON object as text');
  const unstorable = findUnstorable(parsed);
  if (unstorable) throw wrong(`cannot be taken: ${unstorable.pointer} ${unstorable.detail}`);
  return { id, function: { name, arguments: parsed } };
}
