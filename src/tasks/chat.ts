import * as v from 'valibot';
import { defineTask } from './define.ts';
import { modelChoice, strictObject } from './schemas.ts';
import { answeredMessage, message, textAnswer, textRequest, tools } from './text-schemas.ts';

/** What a chat may be asked; `POST /api/v1/chat` takes it too. */
export const chatInput = {
  messages: v.pipe(v.array(message), v.minLength(1, 'must hold at least one message')),
  tools: v.optional(tools),
  ...textRequest,
};

export const chat = defineTask({
  name: 'chat',
  title: 'Chat',
  summary: 'Continues a conversation with a language model.',
  lane: 'llm',
  input: strictObject(chatInput),
  output: v.strictObject({ message: answeredMessage, ...textAnswer, ...modelChoice }),
  defaults: { attempts: 3, timeoutSeconds: 600, backoff: { minMs: 2_000, maxMs: 60_000 } },
  examples: [
    { messages: [{ role: 'user', content: 'Once upon a time there was a small robot' }], options: { num_predict: 48 } },
  ],
  run: (input, tools) => tools.models.chat(input),
});
