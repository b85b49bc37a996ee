import type { Context } from 'hono';
import type * as v from 'valibot';
import { storeError } from './errors.ts';
import { type Json, parseJson, stringifyJson } from './json.ts';
import { readShape } from './shape-parts.ts';

/** What hangs on a request: when it came, in milliseconds of the monotonic clock. */
export type Env = { Variables: { started: number } };

/** A good answer, in the real server's envelope. */
export function ok(c: Context<Env>, result: Json): Response {
  return envelope(c, 200, { result, status: 'ok' });
}

/** An error, in the real server's envelope. */
export function failed(c: Context<Env>, status: number, message: string): Response {
  return envelope(c, status, { status: { error: message } });
}

/** The answer to a change. Every change is on disk by then; `wait` only decides which word says so. */
export function updated(c: Context<Env>, operation: number): Response {
  return ok(c, { operation_id: operation, status: wantsToWait(c) ? 'completed' : 'acknowledged' });
}

/** The body of a request, in its shape. Throws a format error for anything else. */
export async function readBody<T>(c: Context<Env>, shape: v.GenericSchema<unknown, T>): Promise<T> {
  const text = await c.req.text();
  wantsToWait(c);
  let body: Json;
  try {
    body = parseJson(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw storeError('format', error.message);
  }
  return readShape(shape, body);
}

function wantsToWait(c: Context<Env>): boolean {
  const wait = c.req.query('wait') ?? 'false';
  if (wait !== 'true' && wait !== 'false') throw storeError('parameters', 'wait: expected true or false');
  return wait === 'true';
}

function envelope(c: Context<Env>, status: number, body: { [key: string]: Json }): Response {
  const time = (performance.now() - c.get('started')) / 1000;
  return new Response(stringifyJson({ ...body, time }), {
    status,
    headers: { 'content-type': 'application/json' },
  });
}
