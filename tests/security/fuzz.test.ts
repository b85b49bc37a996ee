import fc from 'fast-check';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isOpenAi, openAiError } from '../../src/api/openai/error.ts';
import { POLICIES } from '../../src/api/policy.ts';
import { PROBLEMS, type ProblemCode } from '../../src/errors.ts';
import { sendLines } from '../support/fake-ollama.ts';
import { makeObject, ROUTES_WITH_BODY } from '../support/route-objects.ts';
import { type Client, createWorld, type World } from '../support/world.ts';
import { type FuzzRequest, type FuzzRoute, fuzzRoutes, requestsFor } from './fuzz/routes.ts';
import { createWire, type FuzzAnswer } from './fuzz/wire.ts';

/** `npm run fuzz` sets both. */
const REQUESTS = Number(process.env.FUZZ_REQUESTS ?? 60);
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
const MS_A_REQUEST = 500;
const UNKNOWN = '01980000-0000-7000-8000-000000000000';

/** Where a stack, a path of ours or a piece of SQL would be seen. */
const INSIDE =
  /\n\s+at |\bnode:internal|node_modules|file:\/\/\/(?!etc)|"stack"|\.[cm]?[jt]s:\d+|\bselect\b.*\bfrom\b|insert into|PostgresError|syntax error at/i;

const ROUTES = fuzzRoutes();

describe(`whatever is asked (seed ${SEED}, ${REQUESTS} requests a route)`, () => {
  let world: World;
  let wire: ReturnType<typeof createWire>;
  const askers = new Map<string, Client>();
  const seen = new Map<string, Map<number, number>>();

  beforeAll(async () => {
    world = await createWorld({ mode: 'api', env: { DOCS: 'open', MAX_BODY_BYTES: '65536' } });
    // For the routes that answer with the end of a task.
    await world.join('worker', { WORKER_LANES: 'llm,embed' });
    world.ollama.script = ({ path }, response) => {
      if (path !== '/api/chat') return false;
      sendLines(response, [{ message: { role: 'assistant', content: 'true' }, done: true, done_reason: 'stop' }]);
      return true;
    };
    wire = createWire(world.url);
    for (const role of ['user', 'admin'] as const) askers.set(role, await world.client(role));
  });
  afterAll(async () => {
    wire.close();
    await world.close();
    if (process.env.FUZZ_REQUESTS !== undefined)
      console.table(Object.fromEntries([...seen].map(([k, v]) => [k, Object.fromEntries(v)])));
  });

  /** Things of the one who asks that the route can name; the route may take some of them away. */
  async function makeIds({ key }: FuzzRoute): Promise<string[]> {
    const ids = [];
    for (let count = 0; count < 5; count++)
      ids.push((await makeObject(world, askers.get('user') as Client, key))?.id ?? UNKNOWN);
    return [...ids, UNKNOWN];
  }

  async function ask({ method, key }: FuzzRoute, { asker, path, body, headers }: FuzzRequest): Promise<FuzzAnswer> {
    const token = askers.get(asker)?.token;
    const all = { ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers };
    const answer = await wire.send(method, path, all, body);
    const statuses = seen.get(key) ?? new Map<number, number>();
    seen.set(key, statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1));
    // Whoever has logged out, or was deleted, comes back as somebody new.
    if (answer.status === 401 && token && !('authorization' in headers) && key !== 'POST /api/v1/auth/login')
      askers.set(asker, await world.client(asker === 'admin' ? 'admin' : 'user'));
    return answer;
  }

  function judge({ status, type, requestId, text }: FuzzAnswer, { key }: FuzzRoute, path: string): void {
    expect(status, text).toBeLessThan(500);
    // That script is a file of a package, the same for everybody.
    if (key !== 'GET /docs/reference.js' || status !== 200) expect(text).not.toMatch(INSIDE);
    // What is no HTTP is refused before there is anything that could say why.
    if (status === 400 && text === '' && requestId === '') return;
    expect(requestId).not.toBe('');
    if (status < 400) return;
    // What climbs out of /v1 is asked of somewhere else.
    if (isOpenAi(URL.canParse(path, world.url) ? new URL(path, world.url).pathname : path)) {
      expect(type).toBe('application/json');
      expect(() => v.parse(openAiError, JSON.parse(text)), text).not.toThrow();
      return;
    }
    expect(type).toBe('application/problem+json');
    const problem = JSON.parse(text);
    expect(Object.keys(PROBLEMS), text).toContain(problem.code);
    expect(problem).toMatchObject({ status, request_id: requestId });
    expect(PROBLEMS[problem.code as ProblemCode].status).toBe(status);
    expect(problem.detail).not.toBe('');
  }

  it('is asked of every route there is, with the bodies that it takes', () => {
    expect(ROUTES.map(({ key }) => key).sort()).toEqual(Object.keys(POLICIES).sort());
    const withBody = ROUTES.filter(({ body }) => body).map(({ key }) => key);
    expect(withBody.sort()).toEqual([...ROUTES_WITH_BODY].sort());
  });

  it.each(ROUTES)(
    'S26: $key answers with what it should or with a problem, and never breaks',
    async (route) => {
      const ids = await makeIds(route);
      const usernames = [...askers.values()].map(({ username }) => username);
      await fc.assert(
        fc.asyncProperty(requestsFor(route, { ids, usernames }), async (given) =>
          judge(await ask(route, given), route, given.path),
        ),
        { numRuns: REQUESTS, seed: SEED },
      );
      expect((await world.anonymous.request('GET', '/healthz')).status).toBe(200);
    },
    30_000 + REQUESTS * MS_A_REQUEST,
  );
});
