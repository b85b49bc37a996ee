import * as v from 'valibot';
import { defineTask } from './define.ts';
import { modelChoice, strictObject } from './schemas.ts';
import { images, textAnswer, textRequest } from './text-schemas.ts';

export const generate = defineTask({
  name: 'generate',
  title: 'Generate text',
  summary: 'Continues a prompt with a language model.',
  lane: 'llm',
  input: strictObject({
    prompt: v.pipe(v.string(), v.minLength(1, 'must not be empty')),
    system: v.optional(v.string()),
    images: v.optional(images),
    ...textRequest,
  }),
  output: v.strictObject({
    text: v.string(),
    thinking: v.optional(v.pipe(v.string(), v.description('What the model thought, where it says that apart.'))),
    ...textAnswer,
    ...modelChoice,
  }),
  defaults: { attempts: 3, timeoutSeconds: 600, backoff: { minMs: 2_000, maxMs: 60_000 } },
  examples: [{ prompt: 'Lily and Tom went to the park and', options: { num_predict: 48 } }],
  run: (input, tools) => tools.models.generate(input),
});
