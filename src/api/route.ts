import type * as v from 'valibot';
import type { KeyUse } from '../db/idempotency.ts';
import type { Trail } from './audit.ts';
import type { Permission } from './policy.ts';

/** Who is asking. */
export interface Principal {
  userId: string;
  username: string;
  role: string;
  /** The session, or the API key, that the request hangs on. */
  sessionId: string;
  /** The API key, where it came with one. */
  keyId?: string;
  /** The only task that it may read, where it came with a token for that. */
  taskId?: string;
  /** The only task types that it may submit; any where this is not given. */
  taskTypes?: readonly string[];
  /** The first priority that it may submit with; 1 where this is not given. */
  priorityCeiling?: number;
  can(permission: Permission): boolean;
}

/** What a handler knows of the request. */
export interface RouteInput<B, Q> {
  body: B;
  query: Q;
  params: Record<string, string>;
  principal: Principal;
  requestId: string;
  /** The address of the API as this client knows it, without a slash at the end. */
  base: string;
  address: string | null;
  /** Writes what this request does into the audit log. */
  trail: Trail;
  header(name: string): string | undefined;
  /** The `Idempotency-Key` of the request, on routes that say `idempotent`. */
  key: KeyUse | undefined;
  /** Aborts when the client goes away. */
  signal: AbortSignal;
}

export interface RouteAnswer {
  status: number;
  /** Sent as JSON; nothing is sent where it is not given. */
  body?: unknown;
  /** Sent as a page, in place of JSON. */
  html?: string;
  headers?: Record<string, string>;
}

type Schema = v.GenericSchema<unknown, unknown>;

/** One route of the API as a value: the HTTP layer, the policy check and the reference are made from it. */
export interface Route<B extends Schema = Schema, Q extends Schema = Schema> {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** The whole path, with `:name` for parameters. */
  path: string;
  summary: string;
  body?: B;
  query?: Q;
  /**
   * For what creates something: a request that is sent again with the same `Idempotency-Key` happens once. With `answer` the
   * answer of `handle` is kept and given again; with `commit` it is `handle` that stores the key, in one statement with its work.
   */
  idempotent?: 'answer' | 'commit';
  /** For what wants no token: an address may ask for it so often in a minute as it may try to log in. */
  limited?: 'by address';
  handle(input: RouteInput<v.InferOutput<B>, v.InferOutput<Q>>): Promise<RouteAnswer> | RouteAnswer;
}

/** Makes a route; only here for the types of `handle`. */
export function defineRoute<B extends Schema, Q extends Schema>(route: Route<B, Q>): Route {
  return route as unknown as Route;
}

/** How the policy table names a route. */
export function routeKey({ method, path }: Pick<Route, 'method' | 'path'>): string {
  return `${method} ${path}`;
}
