import * as v from 'valibot';
import type { ModelInfo } from '../../clients/models.ts';
import { named } from '../../tasks/named.ts';
import { modelChoice } from '../../tasks/schemas.ts';
import type { Same } from '../answer.ts';

const modelAt = named(
  'ModelAt',
  v.strictObject({
    host: v.pipe(v.string(), v.description('What the host is called; its address is not told.')),
    digest: v.string(),
    loaded: v.pipe(v.boolean(), v.description('Whether it is in memory there.')),
    up: v.pipe(v.boolean(), v.description('Whether the host answered when it was last asked.')),
  }),
);

/** A model of the hosts. */
export const model = named(
  'Model',
  v.strictObject({
    name: v.string(),
    digest: v.pipe(v.string(), v.description('Where hosts differ, that of most of them.')),
    size: v.pipe(v.number(), v.description('Bytes.')),
    family: v.string(),
    capabilities: v.array(v.string()),
    context_length: v.pipe(
      v.nullable(v.pipe(v.number(), v.integer())),
      v.description('Tokens that it was trained to see at a time; null where nobody knows.'),
    ),
    hosts: v.array(modelAt),
    default_for: v.array(v.picklist(['completion', 'embedding'])),
  }),
);

true satisfies Same<ModelInfo, Omit<v.InferOutput<typeof model>, 'default_for'>>;

const choice = v.nullable(v.strictObject(modelChoice));

/** The models of the host, and which of them stands in where a task names none. */
export const models = v.strictObject({
  data: v.array(model),
  defaults: v.strictObject({ completion: choice, embedding: choice }),
  served_by: v.string(),
  next_cursor: v.null(),
});

export const modelExample: v.InferInput<typeof model> = {
  name: 'tinyllama:latest',
  digest: '2644915ede35',
  size: 637_700_138,
  family: 'llama',
  capabilities: ['completion'],
  context_length: 2048,
  hosts: [{ host: 'host-1', digest: '2644915ede35', loaded: true, up: true }],
  default_for: ['completion'],
};

export const modelsExample: v.InferInput<typeof models> = {
  data: [modelExample],
  defaults: { completion: { model: 'tinyllama:latest', model_reason: 'default' }, embedding: null },
  served_by: 'Ollama',
  next_cursor: null,
};
