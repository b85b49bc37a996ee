import type { AgentOf } from '../../../agents/agent.ts';
import { filledHeaders } from '../../../agents/headers.ts';
import { ANSWER, CALLBACK, HEADERS, REQUEST } from '../../../agents/languages.ts';
import { TaskError } from '../../../errors.ts';
import { ExpressionError, type Language, parseTemplate, replaceExpressions } from '../../../expressions/index.ts';
import { encodeBody } from '../../../tasks/http-body.ts';

/** What a template of a request may name. */
interface Context {
  input?: unknown;
  secrets: Record<string, string>;
  callback_url?: string;
}

/** What expressions about an answer may name, and about what an agent calls back with. */
export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: unknown;
}
export type CalledBack = Pick<Answer, 'body'>;

const WHOLE_INPUT = '${{ input }}';
const METHODS_THAT_REPEAT = ['GET', 'HEAD', 'PUT', 'DELETE'];

/** Whether a call may be made again where nobody knows what became of it. */
export function isRepeatable(method: string, retries: boolean | 'idempotent'): boolean {
  return retries === 'idempotent' ? METHODS_THAT_REPEAT.includes(method) : retries;
}

/** The request that an agent of the type `http` is configured for. @throws TaskError where the input does not fit it */
export function requestOf(
  { base, config: { request } }: AgentOf<'http'>,
  context: Context,
): { method: string; url: string; headers: Record<string, string>; body?: string } {
  const { method, path = '', query = {}, headers, body = WHOLE_INPUT } = request;
  const url = new URL(base + pathOf(path, context));
  for (const [name, value] of Object.entries(query)) {
    const given = fill(value, context, `query.${name}`);
    if (given !== null) url.searchParams.append(name, textOf(given));
  }
  const rendered = method === 'GET' ? undefined : fill(body, context, 'body');
  return { method, url: url.href, ...encodeBody(headersFor(headers, context, REQUEST), rendered) };
}

/** The headers that go with every call of an agent. */
export function headersOf({ config, secrets }: AgentOf<'openai' | 'a2a'>): Record<string, string> {
  return headersFor(config.headers, { secrets }, HEADERS);
}

function headersFor(
  headers: Record<string, string> | undefined,
  context: Context,
  language: Language,
): Record<string, string> {
  const filled = filledHeaders(headers, language, { ...context }, (error, name) => {
    throw error instanceof ExpressionError ? wrong(`headers.${name}`, `: ${error.message}`) : error;
  });
  for (const [name, text] of Object.entries(filled))
    if (!/^[\t\x20-\x7e]*$/.test(text))
      throw wrong(`headers.${name}`, ' comes to something else than one line of printable ASCII');
  return filled;
}

/** The path with what expressions give as one part each, so that no input leads anywhere else. */
function pathOf(path: string, context: Context): string {
  return replaceExpressions(path, (expression) => {
    const text = textOf(fill(`\${{${expression}}}`, context, 'path'));
    if (text === '' || /^\.+$/.test(text))
      throw wrong('path', ` comes to ${JSON.stringify(text)}, which is no part of one`);
    return encodeURIComponent(text);
  });
}

/** What an expression makes of an answer; `undefined` where there is none. @throws TaskError where it gives nothing */
export function fromAnswer(expression: string | undefined, answer: Answer | CalledBack): unknown {
  if (expression === undefined) return undefined;
  try {
    const language = 'status' in answer ? ANSWER : CALLBACK;
    return language.parse(expression).evaluate({ ...answer });
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    throw new TaskError(
      'upstream_protocol',
      `The answer of the agent does not fit the expression ${JSON.stringify(expression.slice(0, 200))}: ${error.message}.`,
      { cause: error },
    );
  }
}

function fill(template: unknown, context: Context, where: string): unknown {
  try {
    return parseTemplate(REQUEST, template).fill({ ...context });
  } catch (error) {
    throw error instanceof ExpressionError ? wrong(where, `: ${error.message}`) : error;
  }
}

function wrong(where: string, what: string): TaskError {
  return new TaskError('invalid_input', `The input does not fit the agent: ${where} of its request${what}.`);
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
