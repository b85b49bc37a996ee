import type { Context } from 'hono';
import { CALLBACK_PATH } from '../callbacks.ts';
import { failed, inSpan, isTracing } from '../telemetry/tracing.ts';
import type { Env } from './request.ts';

/** Asked every few seconds by what watches: they begin no traces, but are a part of one that somebody else began. */
const WATCHED = ['/healthz', '/readyz', '/metrics'];

/** Answers a request within a span, which goes on from the `traceparent` that came along, if one did. */
export function traceRequest(c: Context<Env>, work: () => Promise<void>): Promise<void> {
  if (!isTracing()) return work();
  const { method, path } = c.req;
  const parent = c.req.header('traceparent') ?? null;
  if (parent === null && WATCHED.includes(path)) return work();
  const describe = () => ({
    name: method,
    kind: 'server' as const,
    parent,
    attributes: { 'http.request.method': method, 'url.path': withoutCredential(path), 'url.scheme': 'http' },
  });
  return inSpan(describe, async (span) => {
    await work();
    const route = c.get('answered')?.route;
    if (route) span?.updateName(`${method} ${route}`).setAttribute('http.route', route);
    const { status } = c.res;
    span?.setAttributes({ 'http.response.status_code': status, 'sutazai.request_id': c.get('requestId') });
    if (status >= 500) failed(span, String(status));
  });
}

/** The address of a callback is its credential. */
export function withoutCredential(path: string): string {
  return path.startsWith(CALLBACK_PATH) ? `${CALLBACK_PATH}…` : path;
}
