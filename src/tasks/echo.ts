import * as v from 'valibot';
import { defineTask } from './define.ts';
import { strictObject } from './schemas.ts';

export const echo = defineTask({
  name: 'echo',
  title: 'Echo',
  summary: 'Answers the message it was given; depends on nothing, so it shows whether the queue itself works.',
  lane: 'system',
  input: strictObject({ message: v.string() }),
  output: v.strictObject({ message: v.string() }),
  defaults: { attempts: 3, timeoutSeconds: 30, backoff: { minMs: 500, maxMs: 10_000 } },
  examples: [{ message: 'hello' }],
  run: async ({ message }) => ({ message }),
});
