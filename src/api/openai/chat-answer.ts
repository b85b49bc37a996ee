import * as v from 'valibot';
import type { TaskRow } from '../../db/tasks/read.ts';
import { named } from '../../tasks/named.ts';
import type { ChatAnswer } from '../../tasks/tools.ts';
import { seconds } from './ids.ts';

const toolCall = v.strictObject({
  id: v.string(),
  type: v.literal('function'),
  function: v.strictObject({ name: v.string(), arguments: v.pipe(v.string(), v.description('JSON as text.')) }),
});

export type ToolCall = v.InferOutput<typeof toolCall>;

const FINISH = ['stop', 'length', 'tool_calls'] as const;

/** What a call used, in OpenAI's words. */
const completionUsage = v.strictObject({
  prompt_tokens: v.number(),
  completion_tokens: v.number(),
  total_tokens: v.number(),
});

/** An answered chat, as OpenAI's clients read it. */
export const completion = named(
  'ChatCompletion',
  v.strictObject({
    id: v.string(),
    object: v.literal('chat.completion'),
    created: v.number(),
    model: v.string(),
    choices: v.array(
      v.strictObject({
        index: v.literal(0),
        message: v.strictObject({
          role: v.literal('assistant'),
          content: v.nullable(v.string()),
          refusal: v.null(),
          reasoning: v.optional(v.pipe(v.string(), v.description('What the model thought, where it says that apart.'))),
          tool_calls: v.optional(v.array(toolCall)),
        }),
        logprobs: v.null(),
        finish_reason: v.picklist(FINISH),
      }),
    ),
    usage: completionUsage,
  }),
);

export const completionExample: v.InferInput<typeof completion> = {
  id: 'chatcmpl-0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e10',
  object: 'chat.completion',
  created: 1_896_091_200,
  model: 'tinyllama:latest',
  choices: [
    {
      index: 0,
      message: { role: 'assistant', content: 'Hello!', refusal: null },
      logprobs: null,
      finish_reason: 'stop',
    },
  ],
  usage: { prompt_tokens: 7, completion_tokens: 5, total_tokens: 12 },
};

/** The completed task of a chat as OpenAI's clients read it. */
export function completionOf(task: TaskRow): v.InferOutput<typeof completion> {
  const { message, model } = task.output as ChatAnswer;
  const calls = toolCallsOf(task);
  return {
    id: completionId(task),
    object: 'chat.completion',
    created: seconds(task.created_at),
    model,
    choices: [
      {
        index: 0,
        message: {
          role: 'assistant',
          content: calls.length > 0 && message.content === '' ? null : message.content,
          refusal: null,
          ...(message.thinking === undefined ? {} : { reasoning: message.thinking }),
          ...(calls.length > 0 ? { tool_calls: calls } : {}),
        },
        logprobs: null,
        finish_reason: finishOf(task),
      },
    ],
    usage: usageOf(task),
  };
}

export function completionId({ id }: Pick<TaskRow, 'id'>): string {
  return `chatcmpl-${id}`;
}

/** What a task used, in OpenAI's words. */
export function usageOf({ usage }: Pick<TaskRow, 'usage'>): v.InferOutput<typeof completionUsage> {
  const { input_tokens = 0, output_tokens = 0 } = usage ?? {};
  return {
    prompt_tokens: input_tokens,
    completion_tokens: output_tokens,
    total_tokens: input_tokens + output_tokens,
  };
}

/** The tools that a model called. Where the host gave a call no id, it has one that is the same each time the task is read. */
export function toolCallsOf({ id, output }: Pick<TaskRow, 'id' | 'output'>): ToolCall[] {
  const { message } = output as ChatAnswer;
  return (message.tool_calls ?? []).map((made, index) => {
    const { id: own, function: called } = (made ?? {}) as {
      id?: unknown;
      function?: { name?: unknown; arguments?: unknown } | null;
    };
    return {
      id: typeof own === 'string' && own !== '' ? own : `call_${id.replaceAll('-', '')}_${index}`,
      type: 'function',
      function: { name: String(called?.name ?? ''), arguments: argumentsOf(called?.arguments) },
    };
  });
}

/** Models that were taught otherwise give text already. */
function argumentsOf(given: unknown): string {
  return typeof given === 'string' ? given : JSON.stringify(given ?? {});
}

/** Why the model wrote no further. */
export function finishOf({ output }: Pick<TaskRow, 'output'>): (typeof FINISH)[number] {
  const { message, done_reason } = output as ChatAnswer;
  if (message.tool_calls && message.tool_calls.length > 0) return 'tool_calls';
  return done_reason === 'length' ? 'length' : 'stop';
}
