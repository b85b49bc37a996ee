import { getConnInfo } from '@hono/node-server/conninfo';
import type { Context } from 'hono';
import { ProblemError } from '../errors.ts';
import type { Standing } from './limits/rates.ts';
import type { Principal, Route, RouteInput } from './route.ts';
import { invalid, parseBody, parseJson, parseQuery } from './validate.ts';

/** What the HTTP layer knows of every request: its id, the address of the client, the same for everybody who asks, and how the sender stands to a limit. */
export type Env = { Variables: { requestId: string; address: string | null; rate: Standing | undefined } };

/** What a handler knows of a request, its body and query checked, and `json`: the body as it was sent. @throws ProblemError */
export async function readInput(
  c: Context<Env>,
  route: Route,
  principal: Principal,
  publicUrl: string | undefined,
): Promise<{ input: Omit<RouteInput<unknown, unknown>, 'trail' | 'key'>; json: unknown }> {
  const json = route.body ? await readJson(c) : await refuseBody(c);
  const input = {
    body: route.body ? parseBody(route.body, json) : undefined,
    query: route.query ? parseQuery(route.query, queryOf(c, principal)) : undefined,
    params: c.req.param() as Record<string, string>,
    principal,
    requestId: c.get('requestId'),
    base: baseOf(c, publicUrl),
    address: c.get('address'),
    header: (name: string) => c.req.header(name),
    signal: c.req.raw.signal,
  };
  return { input, json };
}

/** A token in the query is not a field of it. */
function queryOf(c: Context, { taskId }: Principal): Record<string, string> {
  const { access_token, ...query } = c.req.query();
  return taskId === undefined && access_token !== undefined ? { ...query, access_token } : query;
}

/** A route that takes nothing says so, instead of letting what was sent fall away without a word. */
async function refuseBody(c: Context<Env>): Promise<undefined> {
  if (c.req.method === 'GET') return;
  const text = (await c.req.text()).trim();
  if (text !== '' && text !== '{}')
    throw invalid([{ detail: 'must be empty: this route takes no body', pointer: '#' }]);
}

async function readJson(c: Context<Env>): Promise<unknown> {
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

/** The address of the API as this client knows it, without a slash at the end. */
export function baseOf(c: Context<Env>, publicUrl: string | undefined): string {
  return publicUrl ?? new URL(c.req.url).origin;
}

/** The other end of the socket. */
export function peerOf(c: Context): string | undefined {
  // Not every way to call the app has a socket below it.
  return c.env && 'incoming' in (c.env as object) ? getConnInfo(c).remote.address : undefined;
}
