import { toJsonSchema } from '@valibot/to-json-schema';
import type { TaskType } from '../../tasks/define.ts';
import type { Registry } from '../../tasks/index.ts';
import type { Document } from './document.ts';
import type { JsonSchema } from './parameters.ts';

/** A submission of each task type, with the first of its examples. */
export function submissionExamples(registry: Registry): Record<string, object> {
  return Object.fromEntries(
    registry
      .list()
      .map(({ name, title, summary, examples }) => [
        name,
        { summary: title, description: summary, value: { type: name, input: examples[0] } },
      ]),
  );
}

/** The document with inputs and outputs of the task types, and `NewTask` as one of its types. */
export function describeTypes(document: Document, registry: Registry): Document {
  const { NewTask, ...schemas } = document.components.schemas ?? {};
  const types = registry.list();
  const all = registry.all();
  const own = [
    ...types.flatMap((type) => [
      [`NewTask.${type.name}`, submissionOf(type, NewTask as JsonSchema)],
      [`Input.${type.name}`, jsonSchemaOf(type.input)],
    ]),
    ...all.map(({ name, output }) => [`Output.${name}`, jsonSchemaOf(output)]),
  ];
  const any: JsonSchema = {
    title: 'NewTask',
    description: 'What a client may say of a task; which `input` it takes depends on the `type`.',
    oneOf: types.map(({ name }) => ({ $ref: `#/components/schemas/NewTask.${name}` })),
    discriminator: {
      propertyName: 'type',
      mapping: Object.fromEntries(types.map(({ name }) => [name, `#/components/schemas/NewTask.${name}`])),
    },
  };
  const outputs = all.map(({ name }) => ({ $ref: `#/components/schemas/Output.${name}` }));
  for (const name of ['Task', 'SubmittedTask', 'ToldTask'])
    Object.assign(schemas[name]?.properties ?? {}, {
      output: {
        description: 'What the task type makes; null until the task is completed.',
        anyOf: [...outputs, { type: 'null' }],
      },
    });
  const described = Object.entries({ ...schemas, NewTask: any, ...Object.fromEntries(own) }) as Array<
    [string, JsonSchema]
  >;
  described.sort(([a], [b]) => (a < b ? -1 : 1));
  return { ...document, components: { ...document.components, schemas: Object.fromEntries(described) } };
}

function submissionOf({ name, title, summary }: TaskType, { properties = {}, ...rest }: JsonSchema): JsonSchema {
  return {
    ...rest,
    title,
    description: summary,
    properties: {
      ...(properties as JsonSchema),
      type: { const: name } as JsonSchema,
      input: { $ref: `#/components/schemas/Input.${name}` },
    },
    required: [...new Set([...((rest.required as string[] | undefined) ?? []), 'input'])],
  };
}

function jsonSchemaOf(schema: TaskType['input']): JsonSchema {
  const { $schema: _, ...rest } = toJsonSchema(schema, {
    errorMode: 'ignore',
    typeMode: 'input',
    target: 'draft-2020-12',
  });
  // A schema in it that has a name of its own stands there as it is.
  return JSON.parse(
    JSON.stringify(rest, (key, value) => (key === 'ref' && typeof value === 'string' ? undefined : value)),
  );
}
