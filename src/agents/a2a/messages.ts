import { TaskError } from '../../errors.ts';
import { type A2aInterface, fieldsOf, listOf } from './card.ts';

/** A request as it goes out. */
export interface A2aRequest {
  method: 'GET' | 'POST';
  url: string;
  headers: Record<string, string>;
  body?: string;
}

/** What an agent answered: a message, which ends it, or how far a task of it is. */
export interface A2aAnswer {
  state: string;
  task_id?: string;
  context_id?: string;
  text: string;
  data: unknown[];
  files: Array<Record<string, unknown>>;
}

const MAX_ID = 500;
const ENDED = ['completed', 'failed', 'canceled', 'rejected', 'input_required', 'auth_required'];

/** Whether nothing more comes of it by itself. */
export function isOver({ state }: A2aAnswer): boolean {
  return ENDED.includes(state);
}

/**
 * The request that sends a message.
 * @param said.id the id of the message, by which an agent may know one that was sent before
 * @param said.push where it shall call back
 */
export function sendMessage(face: A2aInterface, said: { id: string; input: unknown; push?: string }): A2aRequest {
  const old = face.version === '0.3';
  const message = { messageId: said.id, role: old ? 'user' : 'ROLE_USER', parts: partsOf(said.input, old) };
  const push = said.push === undefined ? undefined : { url: said.push };
  // It answers at once with a task, which is looked at later: no connection is held for as long as it works.
  const configuration = old
    ? { blocking: false, ...(push ? { pushNotificationConfig: push } : {}) }
    : { returnImmediately: true, ...(push ? { taskPushNotificationConfig: push } : {}) };
  return requestOf(face, {
    ...{ method: old ? 'message/send' : 'SendMessage', verb: 'POST', path: '/message:send', id: said.id },
    params: { message: old ? { kind: 'message', ...message } : message, configuration },
  });
}

/** The request that asks how far a task is. */
export function getTask(face: A2aInterface, id: string): A2aRequest {
  const method = face.version === '0.3' ? 'tasks/get' : 'GetTask';
  return requestOf(face, {
    ...{ method, verb: 'GET', path: `/tasks/${encodeURIComponent(id)}`, id, params: { id, historyLength: 0 } },
  });
}

/** The request that says that a task is not wanted any more. */
export function cancelTask(face: A2aInterface, id: string): A2aRequest {
  const method = face.version === '0.3' ? 'tasks/cancel' : 'CancelTask';
  return requestOf(face, {
    ...{ method, verb: 'POST', path: `/tasks/${encodeURIComponent(id)}:cancel`, id, params: { id } },
  });
}

interface Call {
  method: string;
  verb: 'GET' | 'POST';
  path: string;
  id: string;
  params: Record<string, unknown>;
}

function requestOf(face: A2aInterface, { method, verb, path, id, params }: Call): A2aRequest {
  const { url, binding, version, tenant } = face;
  const headers = { accept: 'application/json, application/a2a+json', 'a2a-version': version };
  if (binding === 'JSONRPC') {
    const body = JSON.stringify({ jsonrpc: '2.0', id, method, params: { ...(tenant ? { tenant } : {}), ...params } });
    return { method: 'POST', url, headers: { ...headers, 'content-type': 'application/json' }, body };
  }
  const at = `${url}${tenant ? `/${encodeURIComponent(tenant)}` : ''}${path}`;
  if (verb === 'GET') return { method: verb, url: `${at}?historyLength=0`, headers };
  // The id of a task stands in the path.
  const { id: _, ...body } = params;
  const type = 'application/a2a+json';
  return { method: verb, url: at, headers: { ...headers, 'content-type': type }, body: JSON.stringify(body) };
}

/** A text as such, anything else as data. */
function partsOf(input: unknown, old: boolean): unknown[] {
  if (typeof input === 'string') return [old ? { kind: 'text', text: input } : { text: input }];
  const { text, ...rest } = fieldsOf(input);
  if (typeof text === 'string' && Object.keys(rest).length === 0) return partsOf(text, old);
  // In 0.3 data is an object.
  if (!old) return [{ data: input, mediaType: 'application/json' }];
  return [{ kind: 'data', data: fieldsOf(input) === input ? input : { input } }];
}

/**
 * Reads what an agent answered to one of these requests.
 * @throws TaskError `upstream_rejected` for its errors, `upstream_unavailable` for those inside of it, `upstream_protocol` for what is no answer
 */
export function readAnswer(face: A2aInterface, text: string): A2aAnswer {
  const body = fieldsOf(parse(text));
  if (face.binding === 'JSONRPC' && body.error !== undefined) throw rpcError(fieldsOf(body.error));
  const result = fieldsOf(face.binding === 'JSONRPC' ? body.result : body);
  // 1.0 names what it is by the field that holds it, and a task that was asked for has none; 0.3 by its `kind`.
  const message = result.message ?? (result.kind === 'message' ? result : undefined);
  if (message !== undefined) return { state: 'completed', ...idsOf({}, message), ...contentOf([message]) };
  const task = fieldsOf(result.task ?? result);
  const status = fieldsOf(task.status);
  if (!isTaskId(task.id) || typeof status.state !== 'string')
    throw new TaskError('upstream_protocol', 'The agent answered neither a message nor a task of A2A.');
  const artifacts = listOf(task.artifacts);
  const content = artifacts.length > 0 && stateOf(status.state) === 'completed' ? artifacts : [status.message];
  return { state: stateOf(status.state), ...idsOf(task, task), ...contentOf(content) };
}

/** It becomes a part of a path. */
function isTaskId(id: unknown): id is string {
  return typeof id === 'string' && id !== '' && id.length <= MAX_ID && !/^\.{1,2}$/.test(id);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TaskError('upstream_protocol', 'The agent answered no JSON.', { cause });
  }
}

const INTERNAL = -32603;

function rpcError({ code, message }: Record<string, unknown>): TaskError {
  const said = `The agent answered the error ${Number(code)}: ${String(message).slice(0, 500)}`;
  return code === INTERNAL
    ? new TaskError('upstream_unavailable', said, { retryable: true, outage: 'failing' })
    : new TaskError('upstream_rejected', said);
}

/** `TASK_STATE_INPUT_REQUIRED` and `input-required` are the same. */
function stateOf(word: string): string {
  return word
    .replace(/^TASK_STATE_/, '')
    .replaceAll('-', '_')
    .toLowerCase();
}

function idsOf(task: unknown, within: unknown): Pick<A2aAnswer, 'task_id' | 'context_id'> {
  const { id } = fieldsOf(task);
  const { contextId } = fieldsOf(within);
  return {
    ...(typeof id === 'string' ? { task_id: id } : {}),
    ...(typeof contextId === 'string' ? { context_id: contextId } : {}),
  };
}

/** What stands in the parts of messages and artifacts, in the words of both versions. */
function contentOf(holders: unknown[]): Pick<A2aAnswer, 'text' | 'data' | 'files'> {
  const parts = holders.flatMap((holder) => listOf(fieldsOf(holder).parts));
  return {
    text: parts.flatMap(({ text }) => (typeof text === 'string' ? [text] : [])).join('\n'),
    data: parts.flatMap((part) => ('data' in part ? [part.data] : [])),
    files: parts.map(fileOf).filter((file) => file !== undefined),
  };
}

function fileOf(part: Record<string, unknown>): Record<string, unknown> | undefined {
  const file = 'file' in part ? fieldsOf(part.file) : part;
  const url = file.url ?? file.uri;
  const base64 = file.raw ?? file.bytes;
  if (typeof url !== 'string' && typeof base64 !== 'string') return undefined;
  const name = file.filename ?? file.name;
  const type = file.mediaType ?? file.mimeType;
  return {
    ...(typeof name === 'string' ? { name } : {}),
    ...(typeof type === 'string' ? { media_type: type } : {}),
    ...(typeof url === 'string' ? { url } : { base64 }),
  };
}
