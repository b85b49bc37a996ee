import { findUnstorable, nestsTooDeep } from './clean.ts';

/** A text is sent as it is, anything else as JSON; the headers may name another type. Header names are in lower case. */
export function encodeBody(
  headers: Record<string, string>,
  body: unknown,
): { headers: Record<string, string>; body?: string } {
  if (body === undefined) return { headers };
  if (typeof body === 'string') return { headers: { 'content-type': 'text/plain; charset=utf-8', ...headers }, body };
  return { headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) };
}

/** JSON is parsed where it is such as we would take in a request; otherwise its text is kept, in which nothing can do harm. */
export function decodeBody(text: string, contentType = ''): { body: unknown; body_format: 'json' | 'text' | 'none' } {
  if (text === '') return { body: null, body_format: 'none' };
  const body = /[/+]json$/.test(mediaType(contentType)) && !nestsTooDeep(text) ? parse(text) : undefined;
  return body === undefined || findUnstorable(body)
    ? { body: text, body_format: 'text' }
    : { body, body_format: 'json' };
}

/** The type of a body without its parameters, in lower case. */
export function mediaType(contentType: string): string {
  return contentType.split(';', 1)[0]?.trim().toLowerCase() ?? '';
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
