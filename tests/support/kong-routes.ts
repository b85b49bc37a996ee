import { readFileSync } from 'node:fs';

// biome-ignore lint/suspicious/noExplicitAny: it is whatever stands in the file
type Document = any;

/** Kong takes the route that matches by most kinds of condition, then regular expressions, then the longest prefix. */
export function matchedRoute(
  kong: Document,
  method: string,
  path: string,
  headers: Record<string, string> = {},
): Document {
  const fits = ({ methods, paths, headers: wanted = {} }: Document) =>
    (methods?.includes(method) ?? true) &&
    paths.some((p: string) => (p[0] === '~' ? new RegExp(`^${p.slice(1)}`).test(path) : path.startsWith(p))) &&
    Object.entries<string[]>(wanted).every(([name, [pattern = '']]) =>
      new RegExp(pattern.replace('~*', '')).test((headers[name] ?? '').toLowerCase()),
    );
  const weight = ({ methods, headers: wanted, paths }: Document) =>
    [methods, wanted].filter(Boolean).length * 4 + (wanted ? 2 : 0) + (paths[0][0] === '~' ? 1 : 0);
  const all = kong.services.flatMap(({ routes }: Document) => routes).filter(fits);
  return all.sort((a: Document, b: Document) => weight(b) - weight(a))[0];
}

const openApi: { paths: Record<string, Record<string, { requestBody?: { content: Record<string, unknown> } }>> } =
  JSON.parse(readFileSync(new URL('../../docs/openapi.json', import.meta.url), 'utf8'));

/** The routes that take a file, by the document of the API. */
export const uploads = Object.entries(openApi.paths).flatMap(([path, methods]) =>
  Object.entries(methods)
    .filter(([, { requestBody }]) => requestBody?.content['multipart/form-data'])
    .map(([method]) => `${method.toUpperCase()} ${path.replaceAll(/\{\w+\}/g, 'x')}`),
);
/** Whether a route takes a file. */
export const isUpload = (method: string, path: string) =>
  uploads.includes(`${method} ${path.replaceAll(/:\w+/g, 'x')}`);
