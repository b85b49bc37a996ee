import type * as v from 'valibot';
import type { KeyUse } from '../db/idempotency.ts';
import type { ProblemCode } from '../errors.ts';
import type { AnswerHeader, RequestHeader } from './answer.ts';
import type { Trail } from './audit.ts';
import type { Permission } from './policy.ts';
import type { Form } from './request.ts';

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
  /** Why it may not use a model; `undefined` for one that it may. Any may be used where this is not given. */
  modelRefusal?: (model: string) => string | undefined;
  can(permission: Permission): boolean;
}

/** What a handler knows of the request. */
export interface RouteInput<B, Q> {
  body: B;
  /** In the place of a body, on routes that say `upload` and got a form, or a file of a type in `raw`. */
  form: Form | undefined;
  /** The body as it was sent, checked all the same. */
  sent: unknown;
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
  /** Whether the credential of the request is still good, and its role the same, for answers that take long. */
  stillGood(): Promise<boolean>;
  /** Lets the connection be still for as long as the answer takes. Whether the other end is there is then asked by TCP. */
  holdOpen(): void;
  /** Breaks the connection off. */
  hangUp(): void;
}

export interface RouteAnswer {
  status: number;
  /** Sent as JSON; nothing is sent where it is not given. */
  body?: unknown;
  /** Sent in place of JSON: a page, unless `headers` say another `Content-Type`. */
  text?: string | Uint8Array<ArrayBuffer>;
  /** Sent as it is made, in place of JSON. It is read when the client takes it, and cancelled when the client goes away. */
  stream?: ReadableStream<Uint8Array>;
  headers?: Record<string, string>;
}

type Schema = v.GenericSchema<unknown, unknown>;

/** How the reference describes an answer that is no problem; made by the functions of `answer.ts`. */
export interface Answer {
  description: string;
  /** The schema of a JSON body. */
  body?: Schema;
  /** A whole JSON body. */
  example?: unknown;
  /** What is sent in the place of JSON, or beside it where the client chooses: examples by content type. */
  texts?: Record<string, string>;
  headers: AnswerHeader[];
}

/** One route of the API as a value: the HTTP layer, the policy check and the reference are made from it. */
export interface Route<B extends Schema = Schema, Q extends Schema = Schema> {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** The whole path, with `:name` for parameters. */
  path: string;
  summary: string;
  body?: B;
  /** A request may come without a body; it then counts as `{}`. */
  bodyOptional?: true;
  /**
   * It takes a multipart form with a `file` and these fields, in the place of a body or where the client chooses. `receiveFile`
   * stores the file; it may be as large as MAX_FILE_BYTES.
   */
  upload?: v.StrictObjectSchema<v.ObjectEntries, undefined>;
  /** Content types of files that come as the body itself, in the place of a form; `receiveBody` stores them. */
  raw?: readonly string[];
  query?: Q;
  /** A body that is taken as it stands; the reference shows it, and a test sends it. */
  example?: v.InferInput<B>;
  /** Headers that it reads, beside those that every route does. */
  headers?: RequestHeader[];
  /**
   * For what creates something: a request that is sent again with the same `Idempotency-Key` happens once. With `answer` the
   * answer of `handle` is kept and given again; with `commit` it is `handle` that stores the key, in one transaction with its work.
   */
  idempotent?: 'answer' | 'commit';
  /** For what wants no token: an address may ask for it so often in a minute as it may try to log in. */
  limited?: 'by address';
  /**
   * For the policy `signed`: checks the part of the path that is the credential, and answers whose requests are counted together.
   * @throws ProblemError `invalid_token`
   */
  signed?: (params: Record<string, string>) => string;
  /** Every answer that is no problem, by status. What is sent and does not stand here fails the tests. */
  answers: Record<number, Answer>;
  /**
   * The problems that it answers beside those that follow from the rest: of the token, of permissions and rates, of the body
   * and the query, of an idempotency key, `not_found` where the path names something, `internal_error` and `temporary-reduced-capacity`.
   */
  problems?: ProblemCode[];
  /** Below `/v1`: the statuses of errors, beside those of the problems, as what came of a task has them. */
  errors?: readonly number[];
  /** Why it is not there in this installation: it answers that as `not_found`, and the reference leaves it out. */
  off?: string;
  handle(input: RouteInput<v.InferOutput<B>, v.InferOutput<Q>>): Promise<RouteAnswer> | RouteAnswer;
}

/** Makes a route; only here for the types of `handle`. */
export function defineRoute<B extends Schema, Q extends Schema>(route: Route<B, Q>): Route {
  return route as unknown as Route;
}

/** Routes that are not there where a setting says so; `why` names it. */
export function offWhen(off: boolean, why: string, routes: Route[]): Route[] {
  return off ? routes.map((route) => ({ ...route, off: why })) : routes;
}

/** How the policy table names a route. */
export function routeKey({ method, path }: Pick<Route, 'method' | 'path'>): string {
  return `${method} ${path}`;
}
