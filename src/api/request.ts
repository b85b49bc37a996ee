import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { HttpBindings } from '@hono/node-server';
import { getConnInfo } from '@hono/node-server/conninfo';
import type { Context } from 'hono';
import * as v from 'valibot';
import { ProblemError } from '../errors.ts';
import type { Standing } from './limits/rates.ts';
import type { Answered } from './measure.ts';
import { takeTime } from './request-time.ts';
import type { Principal, Route, RouteInput } from './route.ts';
import { invalid, parseBody, parseJson, parseQuery } from './validate.ts';

/** What the HTTP layer knows of every request: its id, the address of the client, the same for everybody who asks, and how the sender stands to a limit. */
export type Env = {
  Variables: {
    requestId: string;
    address: string | null;
    rate: Standing | undefined;
    /** By which route it was answered; not there where that is a mounted app, or nobody. */
    answered: Answered | undefined;
    /** Whether its answer has all the headers that every answer has. */
    isWhole?: boolean;
  };
};

/** A multipart form as it comes in, which `receiveFile` reads; or a file that is the body, which `receiveBody` does. */
export interface Form {
  /** Whether it is the file itself. */
  raw: boolean;
  /** The content type, with the boundary of a form. */
  type: string;
  /** How long it says it is. */
  length: number | undefined;
  body: ReadableStream<Uint8Array> | null;
}

/** Whether the request brings a form, or a file, to a route that takes one: then nothing but the route reads its body. */
export function bringsForm(c: Context<Env>, route: Route): boolean {
  const type = c.req.header('content-type') ?? '';
  return (route.upload !== undefined && /^multipart\/form-data\b/i.test(type)) || isRaw(type, route);
}

function isRaw(type: string, { raw = [] }: Route): boolean {
  return raw.includes(type.split(';', 1)[0]?.trim().toLowerCase() ?? '');
}

const NO_QUERY = v.strictObject({});

/** What a handler knows of a request, its body and query checked, and `json`: the body as it was sent. @throws ProblemError */
export async function readInput(
  c: Context<Env>,
  route: Route,
  principal: Principal,
  publicUrl: string | undefined,
): Promise<{ input: Omit<RouteInput<unknown, unknown>, 'trail' | 'key' | 'stillGood'>; json: unknown }> {
  const form = bringsForm(c, route);
  const json = form ? undefined : await readText(c, route);
  const input = {
    body: route.body && !form ? parseBody(route.body, json) : undefined,
    form: form ? formOf(c, route) : undefined,
    sent: json,
    query: parseQuery(route.query ?? NO_QUERY, queryOf(c, principal)),
    params: c.req.param() as Record<string, string>,
    principal,
    requestId: c.get('requestId'),
    base: baseOf(c, publicUrl),
    address: c.get('address'),
    header: (name: string) => c.req.header(name),
    // Made when it is asked for: few answers take so long that they ask.
    get signal() {
      return c.req.raw.signal;
    },
    holdOpen: () => holdOpen(c),
    hangUp: () => hangUp(c),
  };
  return { input, json };
}

/** It is read from here on, by somebody who may send a file. */
function formOf(c: Context<Env>, route: Route): Form {
  takeTime((c.env as Partial<HttpBindings> | undefined)?.incoming as IncomingMessage | undefined);
  const length = c.req.header('content-length');
  const type = c.req.header('content-type') ?? '';
  return {
    ...{ type, raw: isRaw(type, route) },
    length: length === undefined ? undefined : Number(length),
    body: c.req.raw.body,
  };
}

async function readText(c: Context<Env>, route: Route): Promise<unknown> {
  if (route.body) return readJson(c, route);
  if (!route.upload) return refuseBody(c);
  throw new ProblemError('unsupported_media_type', 'Send a form with the header Content-Type: multipart/form-data.', {
    headers: { Connection: 'close' },
  });
}

/** A token in the query is not a field of it. */
function queryOf(c: Context, { taskId }: Principal): URLSearchParams {
  const query = new URL(c.req.url).searchParams;
  if (taskId !== undefined) query.delete('access_token');
  return query;
}

/** A route that takes nothing says so, instead of letting what was sent fall away without a word. */
async function refuseBody(c: Context<Env>): Promise<undefined> {
  if (c.req.method === 'GET') return;
  const text = (await c.req.text()).trim();
  if (text !== '' && text !== '{}')
    throw invalid([{ detail: 'must be empty: this route takes no body', pointer: '#' }]);
}

async function readJson(c: Context<Env>, { bodyOptional }: Route): Promise<unknown> {
  if (bodyOptional && (await c.req.text()) === '') return {};
  const type = c.req.header('content-type') ?? '';
  const encoding = c.req.header('content-encoding') ?? 'identity';
  const charset = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(type)?.[1] ?? 'utf-8';
  if (!/^application\/([\w.+-]+\+)?json\b/i.test(type) || !/^utf-?8$/i.test(charset) || encoding !== 'identity') {
    const sent = [type, encoding === 'identity' ? '' : `Content-Encoding: ${encoding}`]
      .filter(Boolean)
      .join(', ')
      .slice(0, 100);
    throw new ProblemError(
      'unsupported_media_type',
      `Send plain JSON in UTF-8 with the header Content-Type: application/json${sent ? `, not ${sent}` : ''}.`,
    );
  }
  return parseJson(decodeUtf8(await c.req.arrayBuffer()));
}

function decodeUtf8(bytes: ArrayBuffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ProblemError('bad_request', 'The body is not UTF-8.');
  }
}

const HOST = /^(\[[\da-f:.]+\]|[\w.-]{1,255})(:\d{1,5})?$/i;

/** The address of the API as this client knows it, without a slash at the end. */
export function baseOf(c: Context<Env>, publicUrl: string | undefined): string {
  if (publicUrl !== undefined) return publicUrl;
  const { host, origin } = new URL(c.req.url);
  // Whatever a client calls us stands in links of the answer, so it has to be a name or an address.
  return HOST.test(host) ? origin : 'http://localhost';
}

const ASK_MS = 30_000;

/** After the answer the server's own bounds hold again. */
function holdOpen(c: Context): void {
  const { outgoing } = (c.env ?? {}) as Partial<HttpBindings>;
  const { socket } = (outgoing ?? {}) as { socket?: Socket | null };
  socket?.setTimeout(0);
  socket?.setKeepAlive(true, ASK_MS);
}

/** Not every way to call the app has a socket below it. */
function hangUp(c: Context): void {
  const { outgoing } = (c.env ?? {}) as Partial<HttpBindings>;
  outgoing?.destroy();
}

/** The other end of the socket. */
export function peerOf(c: Context): string | undefined {
  // Not every way to call the app has a socket below it.
  return c.env && 'incoming' in (c.env as object) ? getConnInfo(c).remote.address : undefined;
}
