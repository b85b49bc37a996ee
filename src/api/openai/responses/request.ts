import * as v from 'valibot';
import { modelName, record } from '../../../tasks/schemas.ts';
import type { ChatRequest } from '../../../tasks/tools.ts';
import { invalid } from '../../validate.ts';
import { type ChatBody, chatInputOf } from '../chat-request.ts';
import { imageUrl, number, text, tokens, unsupported } from '../fields.ts';
import { metadataSchema } from '../metadata.ts';

/** What clients send back of what they were answered, and nobody needs. */
const echoed = { id: v.nullish(v.string()), status: v.nullish(v.string()) };

const part = v.variant(
  'type',
  [
    v.strictObject({ type: v.picklist(['input_text']), text: v.string() }),
    v.strictObject({
      type: v.literal('output_text'),
      text: v.string(),
      annotations: v.nullish(v.array(v.unknown())),
      logprobs: v.nullish(v.array(v.unknown())),
    }),
    v.strictObject({ type: v.literal('refusal'), refusal: v.string() }),
    v.strictObject({
      type: v.literal('input_image'),
      image_url: imageUrl,
      detail: v.nullish(v.picklist(['auto', 'low', 'high', 'original'])),
      file_id: unsupported,
    }),
  ],
  'must be a part of the type input_text, input_image or output_text',
);

const item = v.union(
  [
    v.strictObject({
      type: v.optional(v.literal('message')),
      role: v.picklist(['user', 'assistant', 'system', 'developer']),
      content: v.union([v.string(), v.array(part)], 'must be a text or a list of parts'),
      phase: v.nullish(v.string()),
      ...echoed,
    }),
    v.strictObject({
      type: v.literal('function_call'),
      ...{ call_id: text, name: text, arguments: v.string(), ...echoed },
    }),
    v.strictObject({
      type: v.literal('function_call_output'),
      call_id: text,
      output: v.string('must be a text'),
      ...echoed,
    }),
  ],
  'must be a message, a function_call or a function_call_output',
);

type Item = v.InferOutput<typeof item>;

const schema = record(v.string(), v.unknown());
const format = v.variant(
  'type',
  [
    v.strictObject({ type: v.literal('text') }),
    v.strictObject({ type: v.literal('json_object') }),
    v.strictObject({
      type: v.literal('json_schema'),
      ...{ name: v.string(), description: v.nullish(v.string()), schema, strict: v.nullish(v.boolean()) },
    }),
  ],
  'must be of the type text, json_object or json_schema',
);

const tool = v.strictObject({
  type: v.literal('function', 'must be function: no other tools are there'),
  ...{ name: v.string(), description: v.nullish(v.string()), parameters: v.nullish(schema) },
  ...{ strict: v.nullish(v.boolean()), defer_loading: v.nullish(v.literal(false)) },
});

/** A response as OpenAI's clients ask for it. Fields that it does not know are refused, as OpenAI does. */
export const responseRequest = v.strictObject({
  model: modelName,
  input: v.union(
    [v.string(), v.pipe(v.array(item), v.minLength(1, 'must not be empty'))],
    'must be a text or a list of messages and calls',
  ),
  instructions: v.nullish(v.string()),
  previous_response_id: v.nullish(v.string()),
  background: v.nullish(v.boolean()),
  stream: v.nullish(v.boolean()),
  stream_options: v.nullish(v.strictObject({ include_obfuscation: v.nullish(v.boolean()) })),
  store: v.nullish(v.literal(true, 'must be true: what is asked for is a task, which stays until it is deleted')),
  metadata: metadataSchema,
  ...{ temperature: number, top_p: number },
  max_output_tokens: tokens,
  text: v.nullish(
    v.strictObject({ format: v.nullish(format), verbosity: v.nullish(v.literal('medium', 'is not supported here')) }),
  ),
  tools: v.nullish(v.array(tool)),
  tool_choice: v.nullish(
    v.picklist(['auto', 'none'], 'must be auto or none: a model cannot be made to call a tool here'),
  ),
  parallel_tool_calls: v.nullish(v.literal(true, 'must be true: how many tools it calls is up to the model')),
  reasoning: v.nullish(
    v.strictObject({
      effort: v.nullish(v.picklist(['none', 'minimal', 'low', 'medium', 'high'])),
      ...{ summary: unsupported, generate_summary: unsupported },
    }),
  ),
  truncation: v.nullish(v.literal('disabled', 'must be disabled: a text that is too long is never cut off in silence')),
  include: v.nullish(v.pipe(v.array(v.string()), v.maxLength(0, 'must be empty: nothing more can be included'))),
  service_tier: v.nullish(v.picklist(['auto', 'default'], 'must be auto or default')),
  ...{ user: v.nullish(v.string()), safety_identifier: v.nullish(v.string()), prompt_cache_key: v.nullish(v.string()) },
  prompt_cache_retention: v.nullish(v.string()),
  ...{ conversation: unsupported, prompt: unsupported, max_tool_calls: unsupported, context_management: unsupported },
  top_logprobs: v.nullish(v.literal(0, 'must be 0: probabilities are not answered')),
});

export type ResponseBody = v.InferOutput<typeof responseRequest>;

/** Where the input of a task has what stands elsewhere in the body. */
export const RESPONSE_PLACES = [
  ['/format', '/text/format/schema'],
  ['/options/num_predict', '/max_output_tokens'],
  ['/options', ''],
  ['/messages', '/input'],
] as const;

/**
 * The input of the task of a response.
 * @param before the conversation that it goes on with
 * @throws ProblemError for what only the items together can tell
 */
export function responseInputOf(body: ResponseBody, before: ChatRequest['messages'] = []): ChatRequest {
  const items: Item[] = typeof body.input === 'string' ? [{ role: 'user', content: body.input }] : body.input;
  const earlier = before.flatMap(({ tool_calls = [] }) => tool_calls.map(earlierCall));
  const made: ChatBody['messages'] = earlier.length > 0 ? [{ role: 'assistant', tool_calls: earlier }] : [];
  const asked = chatInputOf({
    model: body.model,
    messages: [...made, ...messagesOf(items, new Set(earlier.map(({ id }) => id)))],
    tools: body.tools?.map(({ type, name, description, parameters }) => ({
      type,
      function: { name, description, parameters },
    })),
    tool_choice: body.tool_choice,
    response_format: formatOf(body.text?.format),
    reasoning_effort: body.reasoning?.effort,
    ...{ temperature: body.temperature, top_p: body.top_p, max_completion_tokens: body.max_output_tokens },
  } as ChatBody);
  const told = body.instructions ? [{ role: 'system' as const, content: body.instructions }] : [];
  // What was called before stands in the conversation already, and was only there so that its results find it.
  return { ...asked, messages: [...told, ...before, ...asked.messages.slice(made.length)] };
}

function earlierCall(call: unknown) {
  const { id = '', function: called } = call as { id?: string; function: { name: string } };
  return { id, type: 'function' as const, function: { name: called.name, arguments: '' } };
}

function formatOf(asked: v.InferOutput<typeof format> | null | undefined): ChatBody['response_format'] {
  if (asked?.type !== 'json_schema') return asked;
  const { type, ...json_schema } = asked;
  return { type, json_schema };
}

/** The items as messages of a chat. Calls that stand together were made together. */
function messagesOf(items: Item[], known: Set<string>): ChatBody['messages'] {
  const messages: ChatBody['messages'] = [];
  for (const [index, one] of items.entries()) {
    if (one.type === 'function_call') {
      const call = {
        id: one.call_id,
        type: 'function' as const,
        function: { name: one.name, arguments: one.arguments },
      };
      known.add(one.call_id);
      const last = messages.at(-1);
      if (last?.role === 'assistant' && last.tool_calls) last.tool_calls.push(call);
      else messages.push({ role: 'assistant', content: null, tool_calls: [call] });
    } else if (one.type === 'function_call_output') {
      if (!known.has(one.call_id))
        throw invalid([{ pointer: `#/input/${index}/call_id`, detail: 'is not that of a function_call before it' }]);
      messages.push({ role: 'tool', tool_call_id: one.call_id, content: one.output });
    } else messages.push(messageOf(one, index));
  }
  return messages;
}

function messageOf({ role, content }: Extract<Item, { role: string }>, index: number): ChatBody['messages'][number] {
  const parts = typeof content === 'string' ? [{ type: 'input_text' as const, text: content }] : content;
  if (role !== 'user' && parts.some(({ type }) => type === 'input_image'))
    throw invalid([{ pointer: `#/input/${index}/content`, detail: 'holds an image, which only a user may send' }]);
  return {
    role,
    content: parts.map((one) => {
      if (one.type === 'input_image') return { type: 'image_url' as const, image_url: { url: one.image_url } };
      return { type: 'text' as const, text: one.type === 'refusal' ? one.refusal : one.text };
    }),
  } as ChatBody['messages'][number];
}
