import { toJsonSchema } from '@valibot/to-json-schema';
import { PROBLEMS } from '../../errors.ts';
import { LANES } from '../../tasks/lanes.ts';
import { REQUEST_HEADERS } from '../answer.ts';
import type { Route } from '../route.ts';

/** A JSON Schema (2020-12). */
export type JsonSchema = Record<string, unknown>;

/** A parameter (https://spec.openapis.org/oas/v3.1.0#parameter-object). */
export interface Parameter {
  name: string;
  in: 'path' | 'query' | 'header';
  required?: boolean;
  description?: string;
  schema: JsonSchema;
}

/** What stands behind the parameters of paths, by their names, or with the word before; a text where nothing is said. */
const IN_PATH: Record<string, JsonSchema> = {
  id: { type: 'string', format: 'uuid' },
  'queues/name': { type: 'string', enum: [...LANES] },
  code: { type: 'string', enum: Object.keys(PROBLEMS) },
};

/** Everything that a request to a route can say beside its body. */
export function parametersOf(route: Route): Parameter[] {
  return [...inPath(route), ...inQuery(route), ...inHeaders(route)];
}

function inPath({ path }: Route): Parameter[] {
  return [...path.matchAll(/(\w+)\/:(\w+)/g)].map(([, before, name = '']) => ({
    name,
    in: 'path',
    required: true,
    schema: IN_PATH[`${before}/${name}`] ?? IN_PATH[name] ?? { type: 'string' },
  }));
}

function inQuery({ query }: Route): Parameter[] {
  if (!query) return [];
  const { properties = {}, required = [] } = toJsonSchema(query, { errorMode: 'ignore', typeMode: 'input' });
  return Object.entries(properties).map(([name, property]) => {
    const { description, ...schema } = { ...(property as JsonSchema) };
    return {
      name,
      in: 'query',
      ...(required.includes(name) ? { required: true } : {}),
      ...(description ? { description: String(description) } : {}),
      schema: asNumber(schema),
    };
  });
}

/** In a URL everything is a text; what says that it is a whole number is shown as one. */
function asNumber({ pattern, ...schema }: JsonSchema): JsonSchema {
  if (schema.type !== 'integer') return pattern === undefined ? schema : { ...schema, pattern };
  return schema.default === undefined ? schema : { ...schema, default: Number(schema.default) };
}

function inHeaders({ headers = [], idempotent }: Route): Parameter[] {
  const names = [...(idempotent ? (['Idempotency-Key'] as const) : []), ...headers, 'X-Request-Id' as const];
  return names.map((name) => ({
    name,
    in: 'header',
    description: REQUEST_HEADERS[name],
    schema: { type: 'string' },
  }));
}
