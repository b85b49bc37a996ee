import type { AgentType } from '../db/schema.ts';
import type { FieldError } from '../errors.ts';
import { ExpressionError, type Language, parseTemplate, TemplateError } from '../expressions/index.ts';
import { baseOf, disagrees } from './endpoint.ts';
import { ANSWER, CALLBACK, HEADERS, REQUEST } from './languages.ts';
import type { AgentConfig } from './types.ts';

/** What an agent would be, read by the schemas of its type. */
export interface Proposed {
  type: AgentType;
  endpoint: string | null;
  port: number | null;
  config: AgentConfig;
  /** The names of the secrets that it would have. */
  secretNames: readonly string[];
}

const MAX_CONFIG = 65_536;

/**
 * What is wrong with an agent that only shows when all of it is looked at: its address, and the expressions in it.
 * @param checkUrl what is wrong with a URL that users want to be called
 */
export function checkAgent(given: Proposed, checkUrl: (url: string) => string | undefined): FieldError[] {
  const { type, config } = given;
  const errors = checkEndpoint(given, checkUrl);
  if (JSON.stringify(config).length > MAX_CONFIG)
    errors.push({ pointer: '#/config', detail: `must be at most ${MAX_CONFIG} characters as JSON` });
  for (const { language, at, value } of expressionsIn(type, config)) {
    const found = problemOf(language, value, given.secretNames);
    if (found) errors.push({ pointer: pointerTo(['config', ...at, ...found.place]), detail: found.detail });
  }
  if (type === 'ollama') errors.push(...checkTools(config as AgentConfig<'ollama'>, checkUrl));
  return errors;
}

function checkEndpoint({ type, endpoint, port }: Proposed, checkUrl: (url: string) => string | undefined) {
  const wrong = (field: string, detail: string): FieldError[] => [{ pointer: `#/${field}`, detail }];
  if (type === 'ollama') {
    if (endpoint !== null) return wrong('endpoint', 'cannot be given: the model is one of our own hosts');
    return port === null ? [] : wrong('port', 'cannot be given: the model is one of our own hosts');
  }
  if (endpoint === null) return wrong('endpoint', 'is missing');
  if (disagrees(endpoint, port)) return wrong('port', 'is not the one that stands in the endpoint');
  const detail = checkUrl(baseOf(endpoint, port));
  return detail ? wrong('endpoint', detail) : [];
}

interface Found {
  language: Language | Alone;
  /** Where it stands in the configuration. */
  at: string[];
  value: unknown;
}

/** An expression by itself, and not a text with expressions in it. */
interface Alone {
  alone: Language;
}

function expressionsIn(type: AgentType, config: AgentConfig): Found[] {
  const found: Found[] = [];
  if (type === 'http') {
    const { request, response, async: later } = config as AgentConfig<'http'>;
    for (const part of ['path', 'query', 'headers', 'body'] as const)
      found.push({ language: REQUEST, at: ['request', part], value: request[part] });
    for (const part of ['output', 'error'] as const) {
      found.push({ language: { alone: ANSWER }, at: ['response', part], value: response[part] });
      found.push({ language: { alone: CALLBACK }, at: ['async', part], value: later?.[part] });
    }
  } else if (type === 'a2a' || type === 'openai') {
    const { headers } = config as AgentConfig<'a2a' | 'openai'>;
    found.push({ language: HEADERS, at: ['headers'], value: headers });
  }
  return found.filter(({ value }) => value !== undefined);
}

function problemOf(
  language: Language | Alone,
  value: unknown,
  secretNames: readonly string[],
): { place: Array<string | number>; detail: string } | undefined {
  try {
    if ('alone' in language) {
      language.alone.parse(String(value));
      return undefined;
    }
    const unknown = parseTemplate(language, value).references.find(
      ({ root, path }) => root === 'secrets' && !secretNames.includes(path[0] ?? ''),
    );
    return unknown && { place: unknown.place, detail: `names a secret that is not there: ${unknown.path[0]}` };
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    const at = error.at === undefined ? '' : ` (at ${error.at})`;
    return { place: error instanceof TemplateError ? error.place : [], detail: `${error.message}${at}` };
  }
}

function checkTools({ tools }: AgentConfig<'ollama'>, checkUrl: (url: string) => string | undefined): FieldError[] {
  return tools.flatMap((tool, index) =>
    tool.type !== 'http_get'
      ? []
      : tool.urls.flatMap((url, place) => {
          const detail = checkUrl(url);
          return detail ? [{ pointer: `#/config/tools/${index}/urls/${place}`, detail }] : [];
        }),
  );
}

function pointerTo(keys: Array<string | number>): string {
  return `#${keys.map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')}`;
}
