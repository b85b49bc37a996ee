import { request } from 'node:http';
import { holdToReference } from './contract-setup.ts';
import type { Answer } from './world.ts';

/**
 * One HTTP/1.1 request as it is written here: the path is not normalised and no header is added but Host.
 * @param call.chunks is sent piece by piece, chunked unless the headers give a length
 */
export function rawRequest(
  url: string,
  call: { method?: string; path: string; headers?: Record<string, string>; chunks?: Iterable<string | Buffer> },
): Promise<Answer<string>> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const { method = 'GET', path, headers } = call;
    const sent = request({ hostname, port, method, path, headers, agent: false }, async (response) => {
      let body = '';
      for await (const chunk of response.setEncoding('utf8')) body += chunk;
      const all = new Headers();
      for (const [name, value] of Object.entries(response.headersDistinct))
        for (const one of value ?? []) all.append(name, one);
      const status = response.statusCode ?? 0;
      const text = (all.get('content-type') ?? '').includes('json') ? body : undefined;
      holdToReference({ method, path: path.replace(/[?#].*/, ''), status, headers: all, text });
      resolve({ status, headers: all, body });
    });
    sent.once('error', reject);
    for (const chunk of call.chunks ?? []) sent.write(chunk);
    sent.end();
  });
}

/** The same with the body read as JSON. */
export async function rawJson(...args: Parameters<typeof rawRequest>): Promise<Answer<Record<string, unknown>>> {
  const answer = await rawRequest(...args);
  return { ...answer, body: JSON.parse(answer.body) as Record<string, unknown> };
}
