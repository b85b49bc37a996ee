import { readFileSync } from 'node:fs';
import { Ajv, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';
import { type HttpFront, startHttpFront } from './http-front.ts';

type Json = Record<string, unknown>;
interface Operation {
  requestBody?: { content: { 'application/json': { schema: Json } } };
  responses: Record<string, { content?: { 'application/json': { schema: Json } } }>;
}

const DOCUMENT = JSON.parse(
  readFileSync(new URL('../contracts/qdrant-openapi.json', import.meta.url), 'utf8'),
  nullsAsTypes,
) as { paths: Record<string, Record<string, Operation>>; components: { schemas: Json } };

/** OpenAPI 3.0 says `nullable` where JSON Schema has a type. */
function nullsAsTypes(_: string, value: unknown): unknown {
  const { nullable, type } = (value ?? {}) as Json;
  return nullable === true && type === undefined ? { type: 'null' } : value;
}

const ajv = new Ajv({ strict: false, formats: { uint: true, uint8: true, uint16: true, uint32: true, uint64: true } });
addFormats.default(ajv);
// Qdrant takes all three forms of https://qdrant.tech/documentation/concepts/points/#point-ids, which the format does not know.
ajv.addFormat('uuid', /^(?:urn:uuid:)?[\da-f]{8}(-?)(?:[\da-f]{4}\1){3}[\da-f]{12}$/i);
ajv.addSchema({ $id: 'qdrant', components: DOCUMENT.components });
const compiled = new Map<object, ValidateFunction>();

const OPERATIONS = Object.entries(DOCUMENT.paths)
  .map(([path, methods]) => ({ path, methods, pattern: new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`) }))
  // What is said in full goes first.
  .sort((a, b) => a.path.split('{').length - b.path.split('{').length);

function wrong(schema: Json, text: string): string | undefined {
  let validate = compiled.get(schema);
  if (!validate) {
    const local = JSON.parse(JSON.stringify(schema).replaceAll('"#/components', '"qdrant#/components'));
    validate = ajv.compile(local);
    compiled.set(schema, validate);
  }
  return validate(JSON.parse(text)) ? undefined : `${ajv.errorsText(validate.errors)} in ${text.slice(0, 300)}`;
}

/** What about a request that was taken, and its answer, is not as Qdrant's own document says; nothing where all is. */
export function qdrantProblem(
  { method, path, body }: { method: string; path: string; body: string },
  answer: { status: number; body: string },
): string | undefined {
  const [plain = ''] = path.split('?');
  const found = OPERATIONS.find(({ pattern, methods }) => pattern.test(plain) && method.toLowerCase() in methods);
  if (!found) return plain.endsWith('z') || answer.status === 404 ? undefined : `${method} ${plain} is not known`;
  const operation = found.methods[method.toLowerCase()] as Operation;
  const wanted = operation.requestBody?.content['application/json'].schema;
  const asked = answer.status === 200 && wanted ? wrong(wanted, body) : undefined;
  if (asked) return `${method} ${plain} is asked ${asked}`;
  const said = operation.responses[answer.status] ?? operation.responses['4XX'];
  const schema = said?.content?.['application/json'].schema;
  const answered = schema && wrong(schema, answer.body);
  return answered && `${method} ${plain} answers ${answer.status} ${answered}`;
}

/** A front before a vector store that holds everything that passes against the document. */
export interface CheckedStore extends HttpFront {
  problems: string[];
  /** How many requests were held against it. */
  checked(): number;
}

/** Starts it. */
export async function startCheckedStore(target: string): Promise<CheckedStore> {
  const front = await startHttpFront(target);
  const problems: string[] = [];
  let checked = 0;
  front.script = async (call, response, forward) => {
    const { status, body } = await forward();
    const problem = qdrantProblem({ ...call, body: call.body.toString() }, { status, body: body.toString() });
    if (problem) problems.push(problem);
    checked++;
    response.writeHead(status, { 'content-type': 'application/json' }).end(body);
  };
  return Object.assign(front, { problems, checked: () => checked });
}
