import type { TaskError } from '../../errors.ts';
import { withoutControl } from '../../tasks/answering/prompt.ts';
import type { Hit } from '../../tasks/tools.ts';
import { isWithin } from './reach.ts';

/** A tool as the owner of an agent gives it to the model. */
export type LoopTool = { name: string; description?: string | undefined } & (
  | { type: 'search'; collection: string; limit: number }
  | { type: 'agent'; agent: string; parameters?: Record<string, unknown> | undefined }
  | { type: 'http_get'; urls: string[] }
);

/** What the tools do their work with: all of it for the user of the task, and nobody else. */
export interface LoopHands {
  search(request: { collection: string; query: string; limit: number }): Promise<Hit[]>;
  /** Has another agent do something. `as` is the beginning of the names of what it remembers. */
  ask(agent: string, input: unknown, call: { as: string; signal: AbortSignal }): Promise<unknown>;
  /** Through the guard; other answers than 2xx are thrown. */
  get(url: string, call: { key: string; signal: AbortSignal }): Promise<{ status: number; type: string; body: string }>;
  /** What about a value does not fit a JSON Schema. */
  misfits(schema: Record<string, unknown>, value: unknown): string[];
}

/** One use of a tool. */
export interface Use {
  name: string;
  arguments: unknown;
  /** The same in all attempts. */
  key: string;
  /** The name under which its result is remembered. */
  as: string;
  signal: AbortSignal;
}

export interface Toolbox {
  /** The tools as the model is told of them. */
  specs: unknown[];
  /**
   * Uses one. What it cannot do for the model, because it is not there or wants other arguments, is an answer to the model too.
   * @throws TaskError for what failed
   */
  use(use: Use): Promise<string>;
}

/** More of an answer is not shown to the model. */
const MAX_SHOWN = 16_000;
const READABLE = /^(text\/|application\/(.*\+)?(json|xml)\b)/i;

const query = { type: 'string', minLength: 1, maxLength: 4_000, description: 'What to look for.' };
const url = { type: 'string', maxLength: 2_048, description: 'The whole address.' };
const input = { type: 'string', minLength: 1, description: 'What it has to do, with all that it needs to know.' };

/** Makes the tools of one agent. */
export function createToolbox(tools: readonly LoopTool[], hands: LoopHands): Toolbox {
  async function use({ name, arguments: given, ...rest }: Use): Promise<string> {
    const tool = tools.find((one) => one.name === name);
    if (!tool) return noSuchTool(tools);
    const args = readArguments(given);
    const wrong = args === undefined ? ['they are no JSON object'] : hands.misfits(parametersOf(tool), args);
    if (wrong.length > 0) return `error: the arguments of ${tool.name} do not fit: ${wrong.slice(0, 5).join('; ')}.`;
    return shown(await answerOf(tool, args as Record<string, never>, rest));
  }

  async function answerOf(
    tool: LoopTool,
    args: Record<string, string>,
    { key, as, signal }: Pick<Use, 'key' | 'as' | 'signal'>,
  ): Promise<string> {
    if (tool.type === 'search') {
      const { collection, limit } = tool;
      const hits = await hands.search({ collection, query: args.query ?? '', limit });
      return hits.length === 0 ? 'Nothing was found.' : hits.map(passage).join('\n\n');
    }
    if (tool.type === 'agent') {
      const answer = await hands.ask(tool.agent, tool.parameters ? args : args.input, { as, signal });
      return typeof answer === 'string' ? answer : JSON.stringify(answer);
    }
    const asked = args.url ?? '';
    if (!isWithin(asked, tool.urls))
      return `error: ${tool.name} may not call that address. It calls only what begins with: ${tool.urls.join(' ')}`;
    const { status, type, body } = await hands.get(asked, { key, signal });
    if (body !== '' && !READABLE.test(type))
      return `error: the answer (${status}) is ${type || 'of no type'}, not text.`;
    return `${status} ${type}\n${body}`;
  }

  return { specs: tools.map(specOf), use };
}

/** What the model is told where a tool failed for good. */
export function toldFailure({ code, message }: TaskError): string {
  return shown(`error: ${code}: ${message}`);
}

function noSuchTool(tools: readonly LoopTool[]): string {
  const names = tools.map(({ name }) => name).join(', ');
  return `error: there is no such tool. ${names === '' ? 'There are none at all.' : `There are: ${names}.`}`;
}

function specOf(tool: LoopTool) {
  const description = tool.description ?? DESCRIPTIONS[tool.type](tool as never);
  return { type: 'function', function: { name: tool.name, description, parameters: parametersOf(tool) } };
}

const DESCRIPTIONS = {
  search: ({ collection }: { collection: string }) => `Searches the collection ${collection}.`,
  agent: ({ agent }: { agent: string }) => `Asks the agent ${agent}.`,
  http_get: ({ urls }: { urls: string[] }) => `Reads a web address that begins with one of: ${urls.join(' ')}`,
};

/** Nothing but these: what a model says besides, such as another collection or another user, is refused, not passed over. */
function parametersOf(tool: LoopTool): Record<string, unknown> {
  if (tool.type === 'agent' && tool.parameters) return tool.parameters;
  const properties = { search: { query }, agent: { input }, http_get: { url } }[tool.type];
  return { type: 'object', properties, required: Object.keys(properties), additionalProperties: false };
}

/** Models give an object, or its JSON as a text. */
function readArguments(given: unknown): Record<string, unknown> | undefined {
  const read = typeof given === 'string' ? parse(given) : (given ?? {});
  return typeof read === 'object' && read !== null && !Array.isArray(read)
    ? (read as Record<string, unknown>)
    : undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function passage({ text, payload }: Hit, at: number): string {
  const name = [payload.title, payload.heading].filter((one) => typeof one === 'string' && one !== '').join(' › ');
  return [`[${at + 1}]${name === '' ? '' : ` ${name}`}`, text ?? JSON.stringify(payload)].join('\n');
}

/** The beginning of a text, without what a host would read as the end of it and the beginning of another message. */
function shown(text: string): string {
  const whole = withoutControl(text);
  return whole.length > MAX_SHOWN
    ? `${whole.slice(0, MAX_SHOWN)}\n(cut off: it has ${whole.length} characters)`
    : whole;
}
