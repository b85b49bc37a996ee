import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { open } from './open.ts';
import { wholeBody } from './whole-body.ts';

/** A span as it came, its attributes and those of its process as plain values. */
export interface CollectedSpan {
  traceId: string;
  spanId: string;
  parentSpanId: string | undefined;
  name: string;
  attributes: Record<string, unknown>;
  resource: Record<string, unknown>;
}

/** What takes traces by OTLP over HTTP. */
export interface Collector {
  url: string;
  spans: CollectedSpan[];
  /** The headers of the last message. */
  headers(): Record<string, unknown>;
  close(): Promise<void>;
}

interface Attribute {
  key: string;
  value: Record<string, unknown>;
}

interface Message {
  resourceSpans: Array<{
    resource: { attributes: Attribute[] };
    scopeSpans: Array<{ spans: Array<CollectedSpan & { attributes: Attribute[] }> }>;
  }>;
}

/** Starts it. */
export async function startCollector(): Promise<Collector> {
  const spans: CollectedSpan[] = [];
  let headers: Record<string, unknown> = {};
  const server = createServer(async (request, response) => {
    const body = await wholeBody(request);
    if (!body) return;
    headers = request.headers;
    const { resourceSpans } = JSON.parse(body.toString()) as Message;
    if (request.url === '/v1/traces')
      for (const { resource, scopeSpans } of resourceSpans)
        for (const span of scopeSpans.flatMap((scope) => scope.spans))
          spans.push({
            ...span,
            parentSpanId: span.parentSpanId || undefined,
            attributes: valuesOf(span.attributes),
            resource: valuesOf(resource.attributes),
          });
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  open.add(url);
  return {
    url,
    spans,
    headers: () => headers,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          open.delete(url);
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

/** OTLP says the type of each value beside it, and writes whole numbers as texts. */
function valuesOf(attributes: Attribute[]): Record<string, unknown> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => {
      const [[kind, one] = []] = Object.entries(value);
      return [key, kind === 'intValue' ? Number(one) : one];
    }),
  );
}
