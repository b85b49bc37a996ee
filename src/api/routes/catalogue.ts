import { toJsonSchema } from '@valibot/to-json-schema';
import * as v from 'valibot';
import type { TaskType } from '../../tasks/define.ts';
import type { Registry } from '../../tasks/index.ts';
import { answers } from '../answer.ts';
import { defineRoute, type Route } from '../route.ts';
import { taskType, taskTypeExample } from '../shapes/catalogue.ts';

/** The kinds of work that can be asked for. */
export function catalogueRoutes({ registry }: { registry: Registry }): Route[] {
  // Schemas do not change while the process lives.
  const types = registry.list().map(presentType);

  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/task-types',
      summary: 'Every task type with its schemas, defaults and an example',
      answers: {
        200: answers('Every task type.', v.strictObject({ data: v.array(taskType), next_cursor: v.null() }), {
          data: [taskTypeExample],
          next_cursor: null,
        }),
      },
      handle: () => ({ status: 200, body: { data: types, next_cursor: null } }),
    }),
  ];
}

function presentType({
  name,
  title,
  summary,
  lane,
  defaults,
  input,
  output,
  examples,
}: TaskType): v.InferOutput<typeof taskType> {
  const schema = (given: TaskType['input']) => ({
    ...toJsonSchema(given, { errorMode: 'ignore', target: 'draft-2020-12' }),
  });
  return {
    name,
    title,
    summary,
    queue: lane,
    defaults: { max_attempts: defaults.attempts, timeout_seconds: defaults.timeoutSeconds, priority: 5 },
    input_schema: schema(input),
    output_schema: schema(output),
    examples: [...examples],
  };
}
