import { toJsonSchema } from '@valibot/to-json-schema';
import type { ModelClient } from '../../clients/ollama.ts';
import { ProblemError } from '../../errors.ts';
import type { TaskType } from '../../tasks/define.ts';
import type { Registry } from '../../tasks/index.ts';
import { defineRoute, type Route } from '../route.ts';

/** What can be asked for: task types and models. */
export function catalogueRoutes({
  registry,
  models,
  modelsKind,
}: {
  registry: Registry;
  models: ModelClient;
  modelsKind: string;
}): Route[] {
  // Schemas do not change while the process lives.
  const types = registry.list().map(presentType);

  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/task-types',
      summary: 'Every task type with its schemas, defaults and an example',
      handle: () => ({ status: 200, body: { data: types, next_cursor: null } }),
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/models',
      summary: 'The models that the hosts really have',
      handle: async () => {
        try {
          const list = await models.models.list();
          const [completion, embedding] = await Promise.all([
            chosen(models, 'completion'),
            chosen(models, 'embedding'),
          ]);
          return {
            status: 200,
            body: {
              data: list.map((model) => ({
                ...model,
                default_for: [
                  ...(completion?.model === model.name ? ['completion'] : []),
                  ...(embedding?.model === model.name ? ['embedding'] : []),
                ],
              })),
              defaults: { completion, embedding },
              served_by: modelsKind,
              next_cursor: null,
            },
          };
        } catch (error) {
          throw new ProblemError(
            'temporary-reduced-capacity',
            'The model host does not answer. Tasks are accepted and wait for it.',
            { headers: { 'Retry-After': '5' }, cause: error },
          );
        }
      },
    }),
  ];
}

/** What a task that names no model gets, and why; `null` where there is none. */
async function chosen(models: ModelClient, capability: 'completion' | 'embedding') {
  return models.models.select(undefined, capability, { pull: false }).catch(() => null);
}

function presentType({ name, title, summary, lane, defaults, input, output, examples }: TaskType) {
  const schema = (given: TaskType['input']) => toJsonSchema(given, { errorMode: 'ignore', target: 'draft-2020-12' });
  return {
    name,
    title,
    summary,
    queue: lane,
    defaults: { max_attempts: defaults.attempts, timeout_seconds: defaults.timeoutSeconds, priority: 5 },
    input_schema: schema(input),
    output_schema: schema(output),
    examples,
  };
}
