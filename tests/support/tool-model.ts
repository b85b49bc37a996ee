import { type OllamaCall, type Script, sendLines } from './fake-ollama.ts';

/** What a model says when it is asked: a text, or the tools that it wants used. */
export type Said = string | Array<{ name: unknown; arguments?: unknown }>;

/** Tokens that each answer takes: those that are read, and those that are written. */
export const TOKENS = { input: 50, output: 9 };

/** Has the model say one of these for each call of a chat, in this order; the last one stays. What it is given later counts too. */
export function replying(replies: Array<Said | ((call: OllamaCall) => Said | 'hang')>): Script {
  return (call, response) => {
    if (call.path !== '/api/chat') return false;
    const reply = replies.length > 1 ? replies.shift() : replies[0];
    const said = typeof reply === 'function' ? reply(call) : (reply ?? '');
    if (said === 'hang') return true;
    const wishes = typeof said === 'string' ? {} : { tool_calls: said.map((one) => ({ function: one })) };
    const message = { role: 'assistant', content: typeof said === 'string' ? said : '', ...wishes };
    sendLines(response, [
      { message, done: false },
      {
        message: { role: 'assistant', content: '' },
        ...{ done: true, done_reason: 'stop', prompt_eval_count: TOKENS.input, eval_count: TOKENS.output },
      },
    ]);
    return true;
  };
}
