import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ACTORS, isOwned, outcomeOf } from '../../scripts/access-matrix.ts';
import { type Permission, POLICIES, ROLE_PERMISSIONS } from '../../src/api/policy.ts';
import type { Role } from '../../src/db/schema.ts';
import { expectProblem, textOf } from '../support/problem.ts';
import { makeBody, makeObject, rowOf } from '../support/route-objects.ts';
import {
  ADMIN_PASSWORD,
  type Answer,
  anonymousClient,
  type Client,
  createWorld,
  type World,
} from '../support/world.ts';

type Actor = (typeof ACTORS)[number];
const ROUTES = Object.keys(POLICIES);
const CODES = { 403: ['forbidden'], 404: ['not_found'], 401: ['unauthorized', 'invalid_token', 'invalid_api_key'] };
/** Whose key has the scopes that a route does not want. */
const isRouteKey = (actor: Actor) => 'key' in actor && actor.key !== 'all scopes';
const UNKNOWN = '01980000-0000-7000-8000-000000000000';

describe('every route', () => {
  let world: World;
  let expired: Client;
  let revoked: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api', env: { DOCS: 'closed' } });
    // For the routes that answer with the end of a task.
    await world.join('worker', { WORKER_LANES: 'llm,embed' });
    expired = await anHourAgo(() => world.client('admin'));
    revoked = await world.client('admin');
    await revoked.request('POST', '/api/v1/auth/logout');
  });
  afterAll(() => world.close());

  /** Does something while the clock of the API, not that of the database, is an hour behind. */
  async function anHourAgo<T>(work: () => Promise<T>): Promise<T> {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 3_600_000 });
    return work().finally(() => vi.useRealTimers());
  }

  async function keyOf(user: Client, scopes: string[]): Promise<Client> {
    const { body } = await user.request<{ key: string }>('POST', '/api/v1/api-keys', { name: 'for a test', scopes });
    return anonymousClient(world.url, body.key);
  }

  /** A key with every scope but the one that is wanted, of somebody who has the permission. */
  async function keyWithout(owner: Client, route: string): Promise<Client> {
    const policy = POLICIES[route] === 'docs' ? 'self:read' : (POLICIES[route] as Permission);
    const role: Role = ROLE_PERMISSIONS.user.has(policy) || policy === ('public' as string) ? 'user' : 'admin';
    const scopes = [...ROLE_PERMISSIONS[role]].filter((scope) => scope !== policy);
    return keyOf(role === 'user' ? owner : await world.client(role), scopes);
  }

  /** Made once for each name: who is refused changes nothing, so the next one may find it as it was. */
  const kept = new Map<string, Promise<unknown>>();
  function once<T>(name: string, make: () => Promise<T>): Promise<T> {
    const made = (kept.get(name) as Promise<T> | undefined) ?? make();
    kept.set(name, made);
    return made;
  }

  /** Somebody and something of theirs, for a route that refuses. */
  function keptFor(route: string) {
    return once(route, async () => {
      const owner = await once('owner', () => world.client());
      return { owner, object: await makeObject(world, owner, route) };
    });
  }

  async function clientFor(actor: Actor, owner: Client, route: string): Promise<Client> {
    if (actor.name === 'expired token') return expired;
    if (actor.name === 'revoked token') return revoked;
    if (!('role' in actor)) return world.anonymous;
    if ('key' in actor) return actor.key === 'all scopes' ? keyOf(owner, ['*']) : keyWithout(owner, route);
    return 'owner' in actor ? owner : world.client(actor.role);
  }

  async function send(client: Client, route: string, id: string | undefined): Promise<Answer> {
    const [method = '', path = ''] = route.split(' ');
    return client.request(method, path.replace(/:.*:\w+|:\w+/, id ?? ''), await makeBody(world, client, route));
  }

  /** What no answer may hold, whoever gets it. */
  function expectNoSecrets({ body }: Answer<unknown>, route: string): void {
    // A file of a package, the same for everybody.
    if (route === 'GET /docs/reference.js') return;
    const text = JSON.stringify(body);
    // The reference holds no values of ours but names of fields.
    if (route !== 'GET /openapi.json') expect(text).not.toMatch(/"secret"|"stack"|node_modules/);
    expect(text).not.toMatch(/password_hash|token_hash|key_hash|\$2[aby]\$/);
    expect(text).not.toContain(ADMIN_PASSWORD);
  }

  describe.each(ROUTES)('%s', (route) => {
    it.each(ACTORS)('S21, S22, S26: answers $name as its policy says', async (actor) => {
      const outcome = outcomeOf(route, actor);
      const fresh = outcome === 'ok' ? await world.client() : undefined;
      const { owner, object } = fresh
        ? { owner: fresh, object: await makeObject(world, fresh, route) }
        : await keptFor(route);
      const client = fresh
        ? await clientFor(actor, owner, route)
        : await once(`${actor.name} ${isRouteKey(actor) ? route : ''}`, () => clientFor(actor, owner, route));
      const before = await rowOf(world, object);
      const answer = await send(client, route, object?.id);
      expectNoSecrets(answer, route);
      if (outcome === 'ok') {
        const hint = `${JSON.stringify(answer.body)}: is a body missing in tests/support/route-objects.ts?`;
        expect([200, 201, 202, 204], hint).toContain(answer.status);
        return;
      }
      const code = answer.body.code ?? (answer.body.error as { code?: unknown } | undefined)?.code;
      expect([answer.status, CODES[outcome]]).toEqual([outcome, expect.arrayContaining([code])]);
      if (outcome === 401) expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer/);
      expect(await rowOf(world, object), 'a refusal changes nothing').toEqual(before);
    });
  });

  it.each(ROUTES.filter(isOwned))('S21: %s tells nobody whether something of others is there', async (route) => {
    const { owner, object } = await keptFor(route);
    const strange = ACTORS.filter((actor) => outcomeOf(route, actor) === 404);
    expect(strange.length).toBeGreaterThan(0);
    for (const actor of strange) {
      const client = await once(`${actor.name} `, () => clientFor(actor, owner, route));
      const answers = [];
      for (const id of [object?.id, UNKNOWN, 'x', `${object?.id}x`, UNKNOWN.toUpperCase()]) {
        const answer = await send(client, route, id);
        const { instance: _, request_id: __, ...said } = expectProblem(answer, 'not_found');
        answers.push(JSON.stringify([textOf(said as never), [...answer.headers.keys()].sort()]));
      }
      expect(new Set(answers).size, actor.name).toBe(1);
    }
  });

  it('S24: that lists things lists nothing of others', async () => {
    const owner = await world.client();
    const marks = [owner.userId, owner.username];
    for (const route of ROUTES.filter(isOwned)) marks.push((await makeObject(world, owner, route))?.id ?? '');
    const { id } = await owner.submit('echo', { message: 'x' }, { tags: ['mark-of-the-owner'], delay_seconds: 600 });
    marks.push(id, 'mark-of-the-owner');
    for (const role of ['viewer', 'user'] as const) {
      const other = await world.client(role);
      for (const route of ROUTES.filter((key) => key.startsWith('GET ') && !key.includes(':'))) {
        const text = JSON.stringify((await send(other, route, undefined)).body);
        for (const mark of marks) expect(text, `${role} ${route}`).not.toContain(mark);
      }
      for (const query of [`tag=mark-of-the-owner`, `batch_id=${id}`, 'status=scheduled&limit=200'])
        expect((await other.request('GET', `/api/v1/tasks?${query}`)).body).toMatchObject({ data: [] });
    }
  });
});
