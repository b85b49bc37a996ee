import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { ANSWER_HEADERS } from '../../src/api/answer.ts';
import { isOpenAi } from '../../src/api/openai/error.ts';
import type { Document, Operation } from '../../src/api/reference/document.ts';

/** An answer of the API, as far as the document says something about it. */
export interface Seen {
  method: string;
  /** Without the query. */
  path: string;
  status: number;
  headers: Headers;
  /** The body, where it is JSON. */
  text: string | undefined;
}

/** Says what about an answer is not as the document says; nothing where all is. */
export type Check = (seen: Seen) => string | undefined;

interface Described {
  method: string;
  pattern: RegExp;
  pointer: string;
  operation: Operation;
  placeholders: number;
}

const MAX_SHOWN = 600;

/** Says what about the body of a message to a webhook is not as the document says; nothing where all is. */
export function createMessageCheck(document: Document): (message: { type: string }) => string | undefined {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats.default(ajv);
  ajv.addSchema({ $id: 'reference', ...document });
  return (message) => {
    if (!document.webhooks[message.type]) return `there is no webhook ${message.type}`;
    const $ref = `reference#/webhooks/${message.type}/post/requestBody/content/application~1json/schema`;
    return ajv.validate({ $ref }, message) ? undefined : ajv.errorsText();
  };
}

/** Makes the check from a document. What is compiled for one answer is there for the next. */
export function createCheck(document: Document): Check {
  const ajv = new Ajv2020({ strict: false, allErrors: false, formats: { binary: true } });
  addFormats.default(ajv);
  ajv.addSchema({ $id: 'reference', ...document });
  const compiled = new Map<string, ValidateFunction>();
  const operations = operationsOf(document);

  function validator(pointer: string): ValidateFunction {
    let found = compiled.get(pointer);
    if (!found) {
      found = ajv.compile({ $ref: `reference#${pointer}` });
      compiled.set(pointer, found);
    }
    return found;
  }

  function wrongBody(pointer: string, text: string): string | undefined {
    const validate = validator(pointer);
    if (validate(JSON.parse(text))) return undefined;
    return `${ajv.errorsText(validate.errors, { dataVar: 'body' })} ${validate.errors?.[0]?.params.additionalProperty ?? ''}, in ${text.slice(0, MAX_SHOWN)}`;
  }

  return ({ method, path, status, headers, text }) => {
    const called = method === 'HEAD' ? 'GET' : method;
    const found = operations.find((one) => one.method === called && one.pattern.test(path));
    const type = headers.get('content-type')?.split(';')[0]?.trim();
    // Who asks for the head alone gets no body.
    if (!found && method === 'HEAD') return undefined;
    if (!found) {
      // No route, or a path with another method: nothing but a problem may be said.
      if (isOpenAi(path) && type === 'application/json' && text !== undefined)
        return wrongBody('/components/schemas/OpenAIError', text);
      if (type !== 'application/problem+json' || text === undefined) return `is answered ${status} without a route`;
      return wrongBody('/components/schemas/Problem', text);
    }
    const said = resolve(document, found.operation.responses[status], `${found.pointer}/responses/${status}`);
    if (!said) return `answers ${status}, which is not among its answers`;
    const undocumented = Object.keys(ANSWER_HEADERS).filter((name) => headers.has(name) && !said.value.headers?.[name]);
    if (undocumented.length > 0) return `${status} has the headers ${undocumented}, which are not described`;
    const types = Object.keys(said.value.content ?? {});
    if (method === 'HEAD') return undefined;
    if (type === undefined) return types.length === 0 ? undefined : `${status} has no body, but should be ${types}`;
    if (!types.includes(type)) return `${status} is ${type}, but should be ${types.join() || 'without a body'}`;
    return text === undefined
      ? undefined
      : wrongBody(`${said.pointer}/content/${type.replaceAll('/', '~1')}/schema`, text);
  };
}

function operationsOf(document: Document): Described[] {
  const all = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      method: method.toUpperCase(),
      pattern: new RegExp(`^${path.replace(/[.]/g, '\\.').replace(/\{\w+\}/g, '[^/]+')}$`),
      pointer: `/paths/${path.replaceAll('~', '~0').replaceAll('/', '~1').replaceAll('{', '%7B').replaceAll('}', '%7D')}/${method}`,
      operation,
      placeholders: path.split('{').length,
    })),
  );
  // As in the API: what is said in full goes first.
  return all.sort((a, b) => a.placeholders - b.placeholders);
}

type Response = Operation['responses'][string];

function resolve(document: Document, response: Response | undefined, pointer: string) {
  if (!response) return undefined;
  const reference = (response as { $ref?: string }).$ref;
  if (!reference) return { value: response, pointer };
  const name = reference.split('/').pop() as string;
  return { value: document.components.responses?.[name] as unknown as Response, pointer: reference.slice(1) };
}
