import * as v from 'valibot';
import type { Status } from '../../../db/schema.ts';
import type { TaskRow } from '../../../db/tasks/read.ts';
import { named } from '../../../tasks/named.ts';
import type { ChatAnswer, ChatRequest } from '../../../tasks/tools.ts';
import { toolCallsOf, usageOf } from '../chat-answer.ts';
import { openAiId, seconds } from '../ids.ts';
import { errorOfTask } from '../task-error.ts';

const STATUSES = ['queued', 'in_progress', 'completed', 'incomplete', 'failed', 'cancelled'] as const;
const object = v.record(v.string(), v.unknown());

const outputText = v.strictObject({
  ...{ type: v.literal('output_text'), text: v.string(), annotations: v.array(v.unknown()) },
  logprobs: v.array(v.unknown()),
});

const outputItem = v.variant('type', [
  v.strictObject({
    ...{ id: v.string(), type: v.literal('message'), role: v.literal('assistant') },
    ...{ status: v.picklist(['in_progress', 'completed', 'incomplete']), content: v.array(outputText) },
  }),
  v.strictObject({
    ...{ id: v.string(), type: v.literal('function_call'), call_id: v.string(), name: v.string() },
    ...{ arguments: v.string(), status: v.picklist(['in_progress', 'completed']) },
  }),
]);

export type OutputItem = v.InferOutput<typeof outputItem>;

const count = v.pipe(v.number(), v.integer());

/** A response as OpenAI's clients read it: a task of the type `chat`. */
export const responseShape = named(
  'OpenAIResponse',
  v.strictObject({
    id: v.string(),
    object: v.literal('response'),
    created_at: v.number(),
    completed_at: v.nullable(v.number()),
    status: v.picklist(STATUSES),
    background: v.boolean(),
    error: v.nullable(v.strictObject({ code: v.string(), message: v.string() })),
    incomplete_details: v.nullable(v.strictObject({ reason: v.literal('max_output_tokens') })),
    instructions: v.nullable(v.string()),
    max_output_tokens: v.nullable(v.number()),
    metadata: v.record(v.string(), v.string()),
    model: v.string(),
    output: v.array(outputItem),
    parallel_tool_calls: v.literal(true),
    ...{ temperature: v.nullable(v.number()), top_p: v.nullable(v.number()) },
    store: v.literal(true),
    text: v.strictObject({ format: object }),
    tool_choice: v.literal('auto'),
    tools: v.array(object),
    truncation: v.literal('disabled'),
    usage: v.nullable(
      v.strictObject({
        input_tokens: count,
        input_tokens_details: v.strictObject({
          cached_tokens: v.pipe(v.literal(0), v.description('Hosts do not say it.')),
        }),
        output_tokens: count,
        output_tokens_details: v.strictObject({
          reasoning_tokens: v.pipe(v.literal(0), v.description('Hosts do not say it.')),
        }),
        total_tokens: count,
      }),
    ),
  }),
);

export type OpenAiResponse = v.InferOutput<typeof responseShape>;

export const responseExample: OpenAiResponse = {
  ...{ id: 'resp_0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e12', object: 'response', created_at: 1_896_091_200 },
  ...{ completed_at: 1_896_091_203, status: 'completed', background: true, error: null, incomplete_details: null },
  ...{ instructions: null, max_output_tokens: null, metadata: {}, model: 'tinyllama:latest' },
  output: [
    {
      ...{ id: 'msg_0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e12_1', type: 'message', role: 'assistant', status: 'completed' },
      content: [{ type: 'output_text', text: 'Hello!', annotations: [], logprobs: [] }],
    },
  ],
  ...{ parallel_tool_calls: true, temperature: null, top_p: null, store: true, text: { format: { type: 'text' } } },
  ...{ tool_choice: 'auto', tools: [], truncation: 'disabled' },
  usage: {
    ...{ input_tokens: 7, input_tokens_details: { cached_tokens: 0 } },
    ...{ output_tokens: 5, output_tokens_details: { reasoning_tokens: 0 }, total_tokens: 12 },
  },
};

/** What a task is marked with that is a response; and with what else was asked for that stands nowhere in its input. */
export const TAGS = { response: 'response', background: 'response:background', instructions: 'response:instructions' };

/** The marks of a response that is asked for. */
export function tagsOf({ background, instructions }: { background?: unknown; instructions?: unknown }): string[] {
  return [TAGS.response, ...(background ? [TAGS.background] : []), ...(instructions ? [TAGS.instructions] : [])];
}

/** Whether a task can be read as a response: one whose payload was deleted cannot any more. */
export function isResponse({ type, tags, payload_deleted_at }: TaskRow): boolean {
  return type === 'chat' && tags.includes(TAGS.response) && payload_deleted_at === null;
}

/** The words of OpenAI for where a task stands. */
const STATUS: Record<Status, OpenAiResponse['status']> = {
  ...{ scheduled: 'queued', pending: 'queued', running: 'in_progress', cancelling: 'cancelled' },
  ...{ completed: 'completed', failed: 'failed', expired: 'failed', cancelled: 'cancelled' },
};

export function statusOf({ status, output }: TaskRow): OpenAiResponse['status'] {
  const cut = status === 'completed' && (output as ChatAnswer).done_reason === 'length';
  return cut ? 'incomplete' : STATUS[status];
}

/** The task of a response as OpenAI's clients read it. */
export function responseOf(task: TaskRow): OpenAiResponse {
  const { tags, error, completed_at, created_at } = task;
  const asked = task.input as ChatRequest;
  const options = asked.options as { temperature?: number; top_p?: number; num_predict?: number } | undefined;
  const status = statusOf(task);
  const failed = status === 'failed' ? errorOfTask(task) : undefined;
  return {
    id: openAiId('response', task.id),
    object: 'response',
    created_at: seconds(created_at),
    completed_at: completed_at && seconds(completed_at),
    status,
    background: tags.includes(TAGS.background),
    error: failed ? { code: failed.code, message: error?.message ?? failed.message } : null,
    incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    instructions: tags.includes(TAGS.instructions) ? (asked.messages[0]?.content ?? null) : null,
    max_output_tokens: options?.num_predict ?? null,
    metadata: metadataOf(task),
    model: task.model ?? asked.model ?? '',
    output: outputOf(task),
    parallel_tool_calls: true,
    temperature: options?.temperature ?? null,
    top_p: options?.top_p ?? null,
    store: true,
    text: { format: formatOf(asked.format) },
    tool_choice: 'auto',
    tools: (asked.tools ?? []).map(toolOf),
    truncation: 'disabled',
    usage: task.usage && usage(task),
  };
}

/** Without what a batch adds to the task of a line. */
function metadataOf({ metadata, batch_id }: TaskRow): Record<string, string> {
  const { custom_id, ...given } = metadata as Record<string, string>;
  return batch_id === null && custom_id !== undefined ? { ...given, custom_id } : given;
}

function usage(task: TaskRow): OpenAiResponse['usage'] {
  const { prompt_tokens, completion_tokens, total_tokens } = usageOf(task);
  return {
    ...{ input_tokens: prompt_tokens, input_tokens_details: { cached_tokens: 0 } },
    ...{ output_tokens: completion_tokens, output_tokens_details: { reasoning_tokens: 0 }, total_tokens },
  };
}

function formatOf(format: ChatRequest['format']): Record<string, unknown> {
  if (format === undefined) return { type: 'text' };
  if (typeof format === 'string') return { type: 'json_object' };
  return { type: 'json_schema', name: 'answer', schema: format, strict: true };
}

function toolOf(tool: unknown): Record<string, unknown> {
  const { function: called } = tool as { function: Record<string, unknown> };
  return { type: 'function', strict: false, ...called };
}

/** What a task answered, as the items of a response; nothing before it has. */
export function outputOf(task: TaskRow): OutputItem[] {
  if (task.status !== 'completed') return [];
  const { content } = (task.output as ChatAnswer).message;
  const calls = toolCallsOf(task);
  const said: OutputItem[] =
    content === '' && calls.length > 0
      ? []
      : [messageOf(task, task.attempt, content, statusOf(task) === 'incomplete' ? 'incomplete' : 'completed')];
  return [
    ...said,
    ...calls.map(
      ({ id, function: called }, index): OutputItem => ({
        ...{ id: `fc_${task.id}_${index}`, type: 'function_call', call_id: id, ...called, status: 'completed' },
      }),
    ),
  ];
}

/** The text of an attempt as an item. */
export function messageOf(
  { id }: Pick<TaskRow, 'id'>,
  attempt: number,
  text: string | undefined,
  status: 'in_progress' | 'completed' | 'incomplete',
): OutputItem & { type: 'message' } {
  const content = text === undefined ? [] : [textPart(text)];
  return { id: `msg_${id}_${attempt}`, type: 'message', role: 'assistant', status, content };
}

export function textPart(text: string): v.InferOutput<typeof outputText> {
  return { type: 'output_text', text, annotations: [], logprobs: [] };
}
