import * as v from 'valibot';
import { defineTask } from './define.ts';
import { modelName, strictObject } from './schemas.ts';

const MB = 1e6;

export const modelPull = defineTask({
  name: 'model.pull',
  title: 'Pull a model',
  summary: 'Brings a model to the model hosts.',
  lane: 'system',
  route: 'POST /api/v1/models/pull',
  input: strictObject({
    model: modelName,
    hosts: v.optional(
      v.pipe(v.array(v.pipe(v.string(), v.maxLength(100))), v.minLength(1, 'must name at least one host')),
    ),
  }),
  output: v.strictObject({
    model: v.string(),
    hosts: v.array(v.strictObject({ host: v.string(), digest: v.string(), size: v.number() })),
  }),
  defaults: { attempts: 3, timeoutSeconds: 21_600, backoff: { minMs: 2_000, maxMs: 60_000 } },
  examples: [{ model: 'tinyllama' }],
  run(input, tools) {
    let shown = 0;
    return tools.models.pull(input, ({ completed, total }) => {
      // What is to be pulled becomes known layer by layer; the bar does not go back for that.
      shown = Math.max(shown, total > 0 ? (100 * completed) / total : 0);
      tools.progress(shown, `${megabytes(completed)} of ${megabytes(total)} MB`);
    });
  },
});

function megabytes(bytes: number): string {
  return (bytes / MB).toFixed(1);
}
