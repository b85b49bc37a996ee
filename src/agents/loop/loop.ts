import { TaskError } from '../../errors.ts';
import type { ChatAnswer, ChatRequest, Message, Usage } from '../../tasks/tools.ts';
import { type Bounds, createSpent } from './bounds.ts';
import { createToolbox, type LoopHands, type LoopTool, toldFailure } from './tools.ts';

/** A model with what it is told and what it may use. */
export interface LoopAgent {
  model?: string | undefined;
  system?: string | undefined;
  options?: Record<string, unknown> | undefined;
  tools: readonly LoopTool[];
  bounds: Bounds;
}

/** What a loop is handed by the attempt that it runs in. */
export interface LoopParts extends LoopHands {
  /** Asks the model; its text goes to the readers of the task as it is made. */
  chat(request: ChatRequest, signal: AbortSignal): Promise<{ answer: ChatAnswer; usage: Usage }>;
  /** Answers what is remembered under a name, or does the work and remembers what it came to; `key` is the same in all attempts. */
  memo<T>(name: string, work: (key: string) => Promise<T>, is: { kind: string }): Promise<T>;
  /** The beginning of all its names. */
  as: string;
  /** Whether a failure that may pass is told to the model, because the task is not tried again. */
  lastTry: boolean;
  signal: AbortSignal;
  progress(message: string): void;
}

export interface LoopAnswer {
  text: string;
  finish_reason: string;
  model: string;
  /** How often the model was asked. */
  steps: number;
  tool_calls: number;
  usage: Usage;
}

/** More at a time are not done. */
const MAX_CALLS = 8;

/** What a step came to, as it is remembered. */
interface Said {
  message: Message;
  finish_reason: string;
  model: string;
  usage: Usage;
  ms: number;
}

/**
 * Asks the model, does what it wants of its tools, tells it what came of that, and so on until it answers. Each step is
 * remembered when it is done: an attempt that takes the task over begins with the first one that is not.
 * @throws TaskError `agent_limit` where a bound is reached first
 */
export async function runLoop(agent: LoopAgent, asked: readonly Message[], parts: LoopParts): Promise<LoopAnswer> {
  const { memo, as, signal } = parts;
  const spent = createSpent(agent.bounds);
  const toolbox = createToolbox(agent.tools, parts);
  const system: Message[] = agent.system === undefined ? [] : [{ role: 'system', content: agent.system }];
  const messages: Message[] = [...system, ...asked];
  let used = 0;

  const say = (): Promise<Said> =>
    spent.inTime(signal, async (inTime) => {
      const since = performance.now();
      const { model, options } = agent;
      const most = Math.min(positive(options?.num_predict), spent.tokensLeft());
      const tools = toolbox.specs.length > 0 ? { tools: toolbox.specs } : {};
      const request = { model, messages, ...tools, options: { ...options, num_predict: most } };
      const { answer, usage } = await parts.chat(request, inTime);
      const { message, done_reason: finish_reason } = answer;
      return { message, finish_reason, model: answer.model, usage, ms: msSince(since) };
    });

  const use = (call: ToolCall, as: string) => (key: string) =>
    spent.inTime(signal, async (inTime) => {
      const since = performance.now();
      const text = await toolbox.use({ ...call, key, as, signal: inTime }).catch((error) => {
        inTime.throwIfAborted();
        if (!(error instanceof TaskError) || error.later || (error.retryable && !parts.lastTry)) throw error;
        return toldFailure(error);
      });
      return { text, ms: msSince(since) };
    });

  for (let step = 1; ; step++) {
    spent.nextCall();
    parts.progress(`step ${step}: the model`);
    const said = await memo(`${as}model.${step}`, say, { kind: 'model' });
    spent.add(said);
    const calls = said.message.tool_calls ?? [];
    if (calls.length === 0) {
      // The text is cut off where there were no tokens left for more; by its owner's own bound it may be.
      if (said.finish_reason === 'length' && spent.tokensLeft() <= 0) throw spent.outOfTokens();
      const { message, finish_reason, model } = said;
      return { text: message.content, finish_reason, model, steps: step, tool_calls: used, usage: spent.usage() };
    }
    messages.push(said.message);
    for (const [at, wish] of calls.entries()) {
      const call = readCall(wish);
      const tool = { role: 'tool' as const, tool_name: call.name };
      if (at >= MAX_CALLS) {
        messages.push({ ...tool, content: `error: not done; at most ${MAX_CALLS} calls are done at a time.` });
        continue;
      }
      const name = `${as}tool.${step}.${at + 1}.${call.name.slice(0, 40)}`;
      parts.progress(`step ${step}: ${call.name}`);
      const result = await memo(name, use(call, name), { kind: 'tool' });
      spent.add(result);
      used++;
      messages.push({ ...tool, content: result.text });
    }
  }
}

interface ToolCall {
  name: string;
  arguments: unknown;
}

/** What a model wants of a tool; it may say that in ways that nobody foresaw. */
function readCall(wish: unknown): ToolCall {
  const { name, arguments: given } = Object(Object(wish).function) as { name?: unknown; arguments?: unknown };
  // It becomes part of names, and stands in the timeline.
  const plain = (typeof name === 'string' ? name : '').replace(/[^\w.:-]/g, '_').slice(0, 128);
  return { name: plain === '' ? 'unnamed' : plain, arguments: given };
}

/** A bound of `num_predict`; it has values below 1 that mean none. */
function positive(given: unknown): number {
  return typeof given === 'number' && given > 0 ? given : Number.POSITIVE_INFINITY;
}

function msSince(start: number): number {
  return Math.round(performance.now() - start);
}
