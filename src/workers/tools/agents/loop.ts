import { conversationOf } from '../../../agents/loop/conversation.ts';
import { runLoop } from '../../../agents/loop/loop.ts';
import type { Usage } from '../../../tasks/tools.ts';
import { misfitsOf } from '../structured.ts';
import type { AgentCall, Called } from './caller.ts';
import { apart } from './places.ts';

/** A page that is longer is not for a model to read. */
const MAX_PAGE_BYTES = 1_048_576;
const NOTHING: Usage = { input_tokens: 0, output_tokens: 0, load_ms: 0, run_ms: 0 };

/** Has a model of our own hosts do something with the tools that its owner gave it, as the user of the task. */
export async function callOllama({
  agent,
  input,
  name,
  attempt,
  signal,
  tools,
  run,
}: AgentCall<'ollama'>): Promise<Called> {
  const { model, system, options, tools: own, max_steps, max_tokens, max_seconds } = agent.config;
  const { task } = attempt;
  const loop = { model, system, options, tools: own };
  const bounds = { steps: max_steps, tokens: max_tokens, seconds: max_seconds };
  const { usage, ...output } = await runLoop({ ...loop, bounds }, conversationOf(input), {
    async chat(request, inTime) {
      let usage = NOTHING;
      const onUsage = (used: Usage) => {
        usage = used;
      };
      return { answer: await tools.models.chat(request, { signal: inTime, onUsage }), usage };
    },
    search: async (request) => (await apart(() => tools.vectors.search({ ...request, mode: 'hybrid' }))).hits,
    ask: async (other, given, { as, signal }) =>
      (await apart(() => run({ agent: other, input: given, as }, signal))).output,
    async get(url, call) {
      const headers = { accept: 'text/*, application/json;q=0.9' };
      const answer = await apart(() =>
        tools.http.request({ method: 'GET', url, headers }, { ...call, maxBytes: MAX_PAGE_BYTES }),
      );
      return { status: answer.status, type: answer.headers['content-type'] ?? '', body: answer.body };
    },
    misfits: (schema, value) => misfitsOf(schema, value, 'its parameters'),
    memo: tools.memo,
    as: `${name}.`,
    lastTry: task.failures + 1 >= task.max_attempts,
    signal,
    progress: (message) => tools.progress(null, message),
  });
  const { input_tokens, output_tokens } = usage;
  return { output, usage: { input_tokens, output_tokens } };
}
