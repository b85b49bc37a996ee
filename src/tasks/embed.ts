import * as v from 'valibot';
import { defineTask } from './define.ts';
import { modelChoice, modelName, strictObject, vector } from './schemas.ts';

const text = v.pipe(v.string(), v.minLength(1, 'must not be empty'));

export const embed = defineTask({
  name: 'embed',
  title: 'Embed text',
  summary: 'Turns texts into vectors whose distance tells how alike they are.',
  lane: 'embed',
  input: strictObject({
    input: v.union(
      [
        text,
        v.pipe(
          v.array(text),
          v.minLength(1, 'must hold at least one text'),
          v.maxLength(2048, 'must hold at most 2048 texts'),
        ),
      ],
      'must be a text or a list of texts',
    ),
    model: v.optional(modelName),
    fallback: v.optional(
      v.pipe(
        v.boolean(),
        v.description('Whether another model may answer where `model` is not there. It may where this is not given.'),
      ),
    ),
  }),
  output: v.strictObject({ embeddings: v.array(vector), dimensions: v.number(), ...modelChoice }),
  defaults: { attempts: 3, timeoutSeconds: 300, backoff: { minMs: 1_000, maxMs: 60_000 } },
  examples: [{ input: ['The cat sits on the mat.', 'A kitten rests on a rug.'] }],
  async run({ input, ...choice }, tools) {
    const { digest: _, ...answer } = await tools.models.embed({ input: [input].flat(), ...choice });
    return answer;
  },
});
