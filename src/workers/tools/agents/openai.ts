import * as v from 'valibot';
import { TaskError } from '../../../errors.ts';
import { decodeBody } from '../../../tasks/http-body.ts';
import { addUsage } from '../models.ts';
import type { AgentCall, Called } from './caller.ts';
import { createText, eventListener, streamOf } from './pieces.ts';
import { onceOnly } from './send.ts';
import { headersOf } from './template.ts';

const conversation = v.union([
  v.pipe(
    v.string(),
    v.transform((content) => [{ role: 'user', content }]),
  ),
  v.pipe(
    v.strictObject({ messages: v.pipe(v.array(v.looseObject({ role: v.string() })), v.minLength(1)) }),
    v.transform(({ messages }) => messages),
  ),
]);

/** What both a whole answer and a piece of one say; what is not asked for may be anything. */
const said = v.looseObject({
  model: v.nullish(v.string()),
  usage: v.nullish(
    v.looseObject({ prompt_tokens: v.optional(v.number(), 0), completion_tokens: v.optional(v.number(), 0) }),
  ),
  error: v.nullish(v.unknown()),
  choices: v.nullish(
    v.array(
      v.looseObject({
        message: v.nullish(v.looseObject({ content: v.nullish(v.string()) })),
        delta: v.nullish(v.looseObject({ content: v.nullish(v.string()) })),
        finish_reason: v.nullish(v.string()),
      }),
    ),
  ),
});

/** The messages of an input: those that it has, or a text as one of its user. @throws TaskError for anything else */
export function messagesOf(input: unknown, system: string | undefined): Array<Record<string, unknown>> {
  const parsed = v.safeParse(conversation, input);
  if (!parsed.success)
    throw new TaskError('invalid_input', 'The input of this agent must be a text, or an object with `messages`.');
  return [...(system === undefined ? [] : [{ role: 'system', content: system }]), ...parsed.output];
}

/** Calls whatever answers chat completions as OpenAI does, and hands the text on as it comes. */
export async function callOpenAi({ agent, input, http, attempt, live }: AgentCall<'openai'>): Promise<Called> {
  const { config, secrets } = agent;
  const answer = createAnswer(config.model, config.max_response_bytes, live());
  const { status, headers, body } = await http({
    method: 'POST',
    url: agent.base + config.path,
    headers: {
      ...(secrets.api_key === undefined ? {} : { authorization: `Bearer ${secrets.api_key}` }),
      ...headersOf(agent),
      'content-type': 'application/json',
      accept: 'text/event-stream, application/json',
    },
    body: JSON.stringify({
      ...config.options,
      model: config.model,
      messages: messagesOf(input, config.system),
      stream: true,
      stream_options: { include_usage: true },
    }),
    // An answer that broke off has changed nothing, so it may be asked for again unless the agent is not to.
    repeatable: config.retries !== false,
    listener: (code, given) =>
      code < 300 && streamOf(given['content-type']) === 'events' ? answer.listener : undefined,
  });
  let called: Called;
  try {
    if (streamOf(headers['content-type']) !== 'events') answer.take(decodeBody(body, 'application/json').body);
    called = answer.end();
  } catch (error) {
    throw error instanceof TaskError && config.retries === false ? onceOnly(error) : error;
  }
  if (called.usage) attempt.usage = addUsage(attempt.usage, { ...called.usage, load_ms: 0, run_ms: 0 });
  return { status, ...called };
}

/** Puts an answer together out of its pieces. */
function createAnswer(model: string, maxBytes: number, live: ReturnType<AgentCall['live']>) {
  const text = createText(maxBytes, live);
  let ended: string | undefined;
  let by = model;
  let usage: Called['usage'];

  function take(given: unknown): void {
    const parsed = v.safeParse(said, given);
    if (!parsed.success || parsed.output.error) throw odd(parsed.success ? parsed.output.error : given);
    const { choices, usage: used, model: named } = parsed.output;
    const [choice] = choices ?? [];
    text.add(choice?.message?.content ?? choice?.delta?.content ?? '');
    ended = choice?.finish_reason ?? ended;
    by = named ?? by;
    if (used) usage = { input_tokens: used.prompt_tokens, output_tokens: used.completion_tokens };
  }

  return {
    take,
    listener: eventListener(maxBytes, (data) => {
      if (data !== '[DONE]') take(json(data));
    }),
    end(): Called {
      if (ended === undefined) throw odd('it ended before its end');
      return { output: { text: text.whole(), finish_reason: ended, model: by }, ...(usage ? { usage } : {}) };
    },
  };
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function odd(said: unknown): TaskError {
  const text = (typeof said === 'string' ? said : JSON.stringify(said)).slice(0, 500);
  return new TaskError('upstream_protocol', `The agent answered no chat completion: ${text}`, {
    retryable: true,
    outage: 'failing',
  });
}
