import { Hono } from 'hono';
import { type DescribeRouteOptions, describeRoute, generateSpecs } from 'hono-openapi';
import * as v from 'valibot';
import { PROBLEMS, type ProblemCode } from '../../errors.ts';
import type { Registry } from '../../tasks/index.ts';
import { ANSWER_HEADERS, type AnswerHeader } from '../answer.ts';
import { readsOneTask } from '../auth/guard.ts';
import { errorExample, isOpenAi, openAiError, statusOf } from '../openai/error.ts';
import { PERMISSIONS, type Permission, POLICIES, type Policy } from '../policy.ts';
import { type Answer, type Route, routeKey } from '../route.ts';
import { MESSAGES } from '../shapes/message.ts';
import { submission } from '../submit.ts';
import { describeMessage } from './messages.ts';
import { operationIdOf, TAG_LIST, tagOf } from './names.ts';
import { type JsonSchema, type Parameter, parametersOf } from './parameters.ts';
import { PROBLEM_EXAMPLES, problem, problemHeaders, problemsOf } from './problems.ts';
import { schemaOf } from './schema.ts';
import { SECURITY_SCHEMES, securityOf } from './security.ts';
import { describeTypes, submissionExamples } from './task-types.ts';

/** An OpenAPI document (https://spec.openapis.org/oas/v3.1.0). */
export interface Document {
  openapi: string;
  info: { title: string; version: string };
  paths: Record<string, Record<string, Operation>>;
  /** What is sent to addresses of users, by event. */
  webhooks: Record<string, Record<string, Operation>>;
  components: Record<string, Record<string, JsonSchema>>;
  servers?: Array<{ url: string }>;
}

/** What is said of one route. */
export interface Operation {
  operationId: string;
  parameters: Parameter[];
  requestBody?: { content: Record<string, Media> };
  responses: Record<string, { headers?: Record<string, JsonSchema>; content?: Record<string, Media> }>;
}

export interface Media {
  schema: JsonSchema;
  example?: unknown;
  examples?: Record<string, { value: unknown }>;
}

type Responses = NonNullable<DescribeRouteOptions['responses']>;

interface Options {
  routes: readonly Route[];
  registry: Registry;
  policies?: Record<string, Policy>;
}

const RATES: AnswerHeader[] = ['RateLimit-Policy', 'RateLimit'];

const ABOUT = `A durable job queue in front of your own models. Submit a task, get 202, and come back for its result, wait for it,
stream it, or get a signed webhook. Errors are \`application/problem+json\` (RFC 9457).`;

/** The OpenAPI document of these routes (https://spec.openapis.org/oas/v3.1.0), without \`servers\`. The same routes give the same document. */
export async function createDocument({ routes, registry, policies = POLICIES }: Options): Promise<Document> {
  const app = new Hono();
  const shared: Responses = {};
  for (const route of routes) {
    const policy = policies[routeKey(route)] as Policy;
    app.on(route.method, [route.path], describeRoute(operation(route, policy, registry, shared)));
  }
  for (const event of Object.keys(MESSAGES))
    app.on('POST', [`${MESSAGE}${event}`], describeRoute(describeMessage(event)));
  const document = (await generateSpecs(app, {
    excludeStaticFile: false,
    documentation: {
      info: { title: 'SutazAI', version: 'v1', description: ABOUT, license: { name: 'MIT', identifier: 'MIT' } },
      tags: TAG_LIST.filter(({ name }) => routes.some((route) => tagOf(route) === name)),
      components: {
        securitySchemes: SECURITY_SCHEMES,
        headers: headerComponents(),
        examples: PROBLEM_EXAMPLES,
        responses: shared,
      },
    },
  })) as unknown as Document;
  return describeTypes(withWebhooks(document), registry);
}

/** Where messages stand among the paths while the document is made. */
const MESSAGE = '/message/';

function withWebhooks(document: Document): Document {
  const messages: Document['webhooks'] = {};
  const paths: Document['paths'] = {};
  for (const [path, item] of Object.entries(document.paths)) {
    if (path.startsWith(MESSAGE)) messages[path.slice(MESSAGE.length)] = item;
    else paths[path] = item;
  }
  return { ...document, paths, webhooks: messages };
}

function operation(route: Route, policy: Policy, registry: Registry, shared: Responses): DescribeRouteOptions {
  return {
    operationId: operationIdOf(route),
    summary: route.summary,
    ...(policy in PERMISSIONS
      ? { description: `Wants the permission \`${policy}\`: ${PERMISSIONS[policy as Permission]}.` }
      : {}),
    tags: [tagOf(route)],
    security: securityOf(policy, readsOneTask(route)),
    parameters: parametersOf(route) as DescribeRouteOptions['parameters'],
    ...(route.body || route.upload ? { requestBody: requestBody(route, registry) } : {}),
    responses: responses(route, policy, shared),
  };
}

function requestBody(
  { body, upload, raw = [], example, fileExamples = {}, bodyOptional }: Route,
  registry: Registry,
): DescribeRouteOptions['requestBody'] {
  const content: Record<string, object> = {};
  if (body) {
    const examples = body === submission ? { examples: submissionExamples(registry) } : { example };
    content['application/json'] = { schema: schemaOf(body), ...examples };
  }
  if (upload) {
    const schema = schemaOf(v.strictObject({ ...upload.entries, file: uploaded }));
    content[FORM] = { schema, example: fileExamples[FORM] };
  }
  for (const type of raw)
    content[type] = { schema: { type: 'string', contentMediaType: type }, example: fileExamples[type] };
  return { required: !bodyOptional, content };
}

const FORM = 'multipart/form-data';
/** A file in a form. */
const uploaded = v.pipe(v.string(), v.metadata({ contentMediaType: 'application/octet-stream' }));

function responses(route: Route, policy: Policy, shared: Responses): Responses {
  const usual: AnswerHeader[] = policy === 'public' && !route.limited ? [] : RATES;
  const described: Responses = Object.fromEntries(
    Object.entries(route.answers).map(([status, answer]) => [status, response(answer, usual)]),
  );
  if (isOpenAi(route.path)) return { ...described, ...openAiErrors(route, policy, shared) };
  for (const [status, codes] of problemsOf(route, policy)) {
    const own = route.answers[status];
    if (own) {
      described[status] = { ...response(own, usual), content: { ...contentOf(own), ...problemContent(codes) } };
      continue;
    }
    const name = codes.join('.');
    shared[name] ??= {
      description: codes.map((code) => PROBLEMS[code].title).join('; '),
      headers: headersOf([...problemHeaders(status), ...RATES]),
      content: problemContent(codes),
    };
    described[status] = { $ref: `#/components/responses/${name}` };
  }
  return described;
}

/** Errors of OpenAI's shape, by status; which words they have depends on the route. */
function openAiErrors(route: Route, policy: Policy, shared: Responses): Responses {
  const problems = [...problemsOf(route, policy).values()].flat().map(statusOf);
  const statuses = [...new Set([...problems, ...(route.errors ?? [])])].sort((a, b) => a - b);
  return Object.fromEntries(
    statuses.map((status) => {
      const name = `OpenAIError.${status}`;
      shared[name] ??= {
        description: 'An error in the shape of OpenAI.',
        headers: headersOf([...problemHeaders(status), 'X-Task-Id', 'X-Should-Retry', ...RATES]),
        content: { 'application/json': { schema: schemaOf(openAiError), example: errorExample(status) } },
      };
      return [status, { $ref: `#/components/responses/${name}` }];
    }),
  );
}

function response(answer: Answer, usual: AnswerHeader[]) {
  const content = contentOf(answer);
  return {
    description: answer.description,
    headers: headersOf([...answer.headers, ...usual]),
    ...(Object.keys(content).length > 0 ? { content } : {}),
  };
}

function contentOf({ body, example, texts = {} }: Answer) {
  const written = Object.entries(texts).map(([type, text]) => [type, { schema: { type: 'string' }, example: text }]);
  return {
    ...(body ? { 'application/json': { schema: schemaOf(body), example } } : {}),
    ...Object.fromEntries(written),
  };
}

function problemContent(codes: ProblemCode[]) {
  const examples = Object.fromEntries(codes.map((code) => [code, { $ref: `#/components/examples/${code}` }]));
  return { 'application/problem+json': { schema: schemaOf(problem), examples } };
}

function headersOf(names: AnswerHeader[]) {
  const all: AnswerHeader[] = [...names, 'X-Request-Id'];
  return Object.fromEntries(all.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
}

function headerComponents() {
  return Object.fromEntries(
    Object.entries(ANSWER_HEADERS).map(([name, description]) => [
      name,
      { description, schema: { type: 'string' as const } },
    ]),
  );
}
