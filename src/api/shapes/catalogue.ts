import * as v from 'valibot';
import { LANES } from '../../tasks/lanes.ts';
import { named } from '../../tasks/named.ts';

const jsonSchema = v.pipe(v.record(v.string(), v.unknown()), v.description('A JSON Schema (2020-12).'));

/** A kind of work as `presentType` answers it. */
export const taskType = named(
  'TaskType',
  v.strictObject({
    name: v.string(),
    title: v.string(),
    summary: v.string(),
    queue: v.picklist(LANES),
    defaults: v.strictObject({ max_attempts: v.number(), timeout_seconds: v.number(), priority: v.number() }),
    input_schema: jsonSchema,
    output_schema: jsonSchema,
    examples: v.pipe(v.array(v.unknown()), v.description('Inputs that work as they stand.')),
  }),
);

export const taskTypeExample: v.InferInput<typeof taskType> = {
  name: 'echo',
  title: 'Echo',
  summary: 'Answers the message it was given; depends on nothing, so it shows whether the queue itself works.',
  queue: 'system',
  defaults: { max_attempts: 3, timeout_seconds: 30, priority: 5 },
  input_schema: { type: 'object', properties: { message: { type: 'string' } }, required: ['message'] },
  output_schema: { type: 'object', properties: { message: { type: 'string' } }, required: ['message'] },
  examples: [{ message: 'hello' }],
};
