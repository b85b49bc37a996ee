import { toJsonSchema } from '@valibot/to-json-schema';
import fc from 'fast-check';
import type * as v from 'valibot';
import { makeRoutes } from '../../../scripts/openapi.ts';
import { ADMIN_PASSWORD } from '../../support/world.ts';
import { type Hints, hostile, type JsonSchema, nearlyValid, valid } from './arbitraries.ts';
import { HOSTILE_BODIES, HOSTILE_HEADERS, HOSTILE_TEXTS } from './hostile.ts';

/** A request as it goes over the wire. */
export interface FuzzRequest {
  asker: 'nobody' | 'user' | 'admin';
  path: string;
  body: string | Buffer | undefined;
  headers: Record<string, string>;
}

/** What is there: ids of things that the route can name, and accounts. */
export interface Known {
  ids: readonly string[];
  usernames: readonly string[];
}

/** A route with what its schemas say. */
export interface FuzzRoute {
  key: string;
  method: string;
  path: string;
  body: JsonSchema | undefined;
  query: JsonSchema | undefined;
}

const { routes, registry } = makeRoutes();

/** Every route of the API. They are made but not called here, so nothing has to stand behind them. */
export function fuzzRoutes(): FuzzRoute[] {
  return routes.map(({ method, path, body, query }) => ({
    key: `${method} ${path}`,
    ...{ method, path },
    body: body && schemaOf(body),
    query: query && schemaOf(query),
  }));
}

function schemaOf(schema: v.GenericSchema): JsonSchema {
  return toJsonSchema(schema, { errorMode: 'ignore', typeMode: 'input' }) as JsonSchema;
}

const password = fc.constantFrom(ADMIN_PASSWORD, 'another long password');
const time = fc
  .date({ min: new Date('1970-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
  .map((date) => date.toISOString());

/** Good values of fields whose schema is only a check. */
function hintsFor({ ids, usernames }: Known): Hints {
  const id = fc.oneof(fc.constantFrom(...ids), fc.uuid());
  const submissions = registry.list().map((type) =>
    fc.record({
      type: fc.constant(type.name),
      input: fc.oneof(fc.constantFrom(...type.examples), valid(schemaOf(type.input), { url })),
    }),
  );
  return {
    ...{ scheduled_for: time, expires_at: time, after: time, before: time, created_after: time, created_before: time },
    ...{ cursor: id, actor_id: id, batch_id: id, object_id: id },
    limit: fc.integer({ min: 1, max: 200 }).map(String),
    status: fc.subarray(['queued', 'scheduled', 'running', 'completed'], { minLength: 1 }).map((all) => all.join()),
    is_active: fc.constantFrom(true, 'true', 'false'),
    type: fc.constantFrom(...registry.list().map(({ name }) => name)),
    task_types: fc.subarray(
      registry.list().map(({ name }) => name),
      { minLength: 1 },
    ),
    ...{ password, current_password: password, new_password: password },
    email: fc.uuid().map((name) => `${name}@example.com`),
    username: fc.oneof(fc.constantFrom(...usernames), fc.stringMatching(/^[a-zA-Z0-9]{8,20}$/)),
    url,
    // What the model of the test says fits these.
    format: fc.constantFrom<unknown>('json', { type: 'boolean' }),
    secret: fc
      .uint8Array({ minLength: 24, maxLength: 64 })
      .map((bytes) => `whsec_${Buffer.from(bytes).toString('base64')}`),
    submission: fc.oneof(...submissions),
  };
}

const url = fc.webUrl({ withQueryParameters: true, validSchemes: ['http', 'https'] });

/** Requests for a route: good ones, ones with something wrong in one place, and ones that are wrong all over. */
export function requestsFor(route: FuzzRoute, known: Known): fc.Arbitrary<FuzzRequest> {
  const hints = hintsFor(known);
  return fc.record({
    asker: fc.constantFrom('user', 'user', 'admin', 'admin', 'nobody'),
    path: fc.tuple(pathOf(route, known), queryOf(route, hints)).map(([path, query]) => path + query),
    body: bodyOf(route, hints),
    headers: headersOf(route),
  });
}

function pathOf({ path }: FuzzRoute, { ids }: Known): fc.Arbitrary<string> {
  const good = fc.constantFrom(...ids);
  const broken = fc.constantFrom(...HOSTILE_TEXTS).filter((text) => /^[!-~]+$/.test(text) && !/[?#]/.test(text));
  const encoded = fc.oneof(fc.constantFrom(...HOSTILE_TEXTS), fc.string()).map(encode);
  const parameter = fc.oneof({ arbitrary: good, weight: 4 }, broken, encoded);
  const parts = path.split('/').map((part) => (part.startsWith(':') ? parameter : fc.constant(part)));
  const anything = fc.tuple(...parts).map((all) => all.join('/'));
  // Where a path names two things, they belong together.
  if (path.split(':').length < 3) return anything;
  return fc.oneof({ arbitrary: good.map((id) => path.replace(/:.*:\w+/, id)), weight: 4 }, anything);
}

function queryOf({ query }: FuzzRoute, hints: Hints): fc.Arbitrary<string> {
  const fields = fc.oneof(
    { arbitrary: query ? valid(query, hints) : fc.constant({}), weight: query ? 3 : 8 },
    query ? nearlyValid(query, hints) : hostile,
    hostile,
  );
  const raw = fc.constantFrom('?', '?&&=&', '?limit=1&limit=2', '?%', '?a=%ff', '?=%00', '?limit[]=1', '?__proto__=1');
  return fc.oneof({ arbitrary: fields.map(queryText), weight: 6 }, raw);
}

function queryText(fields: unknown): string {
  if (fields === null || typeof fields !== 'object') return '';
  const pairs = Object.entries(fields).map(([name, value]) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    return `${encode(name)}=${encode(text ?? '')}`;
  });
  return pairs.length > 0 ? `?${pairs.join('&').slice(0, 8_000)}` : '';
}

/** As in a URL; half of a surrogate pair goes as the bytes that it has none of. */
function encode(text: string): string {
  return text.isWellFormed() ? encodeURIComponent(text) : '%ed%a0%80';
}

function bodyOf({ method, body }: FuzzRoute, hints: Hints): fc.Arbitrary<string | Buffer | undefined> {
  if (method === 'GET') return fc.constant(undefined);
  const raw = fc.constantFrom(...HOSTILE_BODIES);
  const json = (value: fc.Arbitrary<unknown>) => value.map((given) => JSON.stringify(given) ?? '');
  if (!body) return fc.oneof({ arbitrary: fc.constant(undefined), weight: 6 }, raw, json(hostile));
  const good = withSubmissions(valid(body, hints), hints);
  const wrong = withSubmissions(nearlyValid(body, hints), hints);
  return fc.oneof(
    { arbitrary: json(good), weight: 4 },
    { arbitrary: json(wrong), weight: 4 },
    raw,
    json(hostile),
    json(good).chain((text) => fc.nat(text.length).map((end) => text.slice(0, end))),
  );
}

/** A task type and the input that belongs to it, where both fields are asked for. */
function withSubmissions(bodies: fc.Arbitrary<unknown>, { submission }: Hints): fc.Arbitrary<unknown> {
  return fc
    .tuple(bodies, submission as fc.Arbitrary<object>, fc.integer({ min: 0, max: 3 }))
    .map(([body, fit, dice]) => {
      if (dice === 0 || body === null || typeof body !== 'object') return body;
      if ('type' in body && 'input' in body) return { ...body, ...fit };
      const { tasks } = body as { tasks?: unknown };
      if (!Array.isArray(tasks)) return body;
      return { ...body, tasks: tasks.map((task) => (isSubmission(task) ? { ...task, ...fit } : task)) };
    });
}

function isSubmission(task: unknown): task is object {
  return task !== null && typeof task === 'object' && 'type' in task && 'input' in task;
}

function headersOf({ body }: FuzzRoute): fc.Arbitrary<Record<string, string>> {
  const usual: Record<string, string> = body ? { 'content-type': 'application/json' } : {};
  const extra = fc.array(fc.constantFrom(...HOSTILE_HEADERS), { minLength: 1, maxLength: 3 });
  return fc.oneof(
    { arbitrary: fc.constant(usual), weight: 3 },
    extra.map((more) => ({ ...usual, ...Object.fromEntries(more) })),
  );
}
