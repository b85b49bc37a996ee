import * as v from 'valibot';
import { defineTask } from './define.ts';
import { message, modelChoice, textRequest } from './schemas.ts';

export const chat = defineTask({
  name: 'chat',
  title: 'Chat',
  summary: 'Continues a conversation with a language model.',
  lane: 'llm',
  input: v.strictObject({
    messages: v.pipe(v.array(message), v.minLength(1, 'must hold at least one message')),
    tools: v.optional(v.array(v.unknown())),
    ...textRequest,
  }),
  output: v.strictObject({ message, done_reason: v.string(), ...modelChoice }),
  defaults: { attempts: 3, timeoutSeconds: 600, backoff: { minMs: 2_000, maxMs: 60_000 } },
  examples: [
    { messages: [{ role: 'user', content: 'Once upon a time there was a small robot' }], options: { num_predict: 48 } },
  ],
  run: (input, tools) => tools.models.chat(input),
});
