import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROBLEMS } from '../../src/errors.ts';
import { createWorld, type World } from '../support/world.ts';

describe('the pages of the problems', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld();
  });
  afterAll(() => world.close());

  it('open from the type of a problem and say what to do', async () => {
    const { body } = await world.anonymous.request<{ type: string }>('GET', '/api/v1/tasks');
    expect(body.type).toBe(`${world.url}/docs/problems/unauthorized`);
    const page = await fetch(body.type);
    expect(page.status).toBe(200);
    expect(page.headers.get('content-type')).toContain('text/html');
    expect(await page.text()).toContain('POST /api/v1/auth/login');
  });

  it.each(Object.keys(PROBLEMS))('there is one for %s', async (code) => {
    expect((await world.anonymous.request('GET', `/docs/problems/${code}`)).status).toBe(200);
  });

  it('answers 404 for a problem that there is not', async () => {
    expect((await world.anonymous.request('GET', '/docs/problems/toString')).status).toBe(404);
  });
});

it('asks for a token where DOCS is closed, and takes that of any account', async () => {
  const world = await createWorld({ env: { DOCS: 'closed' } });
  const viewer = await world.client('viewer');
  const path = '/docs/problems/not_found';
  const answers = [await world.anonymous.request('GET', path), await viewer.request('GET', path)];
  await world.close();
  expect(answers.map(({ status }) => status)).toEqual([401, 200]);
});

it('refuses a body where a route takes none, instead of letting it fall away', async () => {
  const world = await createWorld();
  const client = await world.client();
  const { id } = await client.runTask('echo', { message: 'x' });
  const refused = await client.request('POST', `/api/v1/tasks/${id}/token`, { input: { message: 'y' } });
  const empty = await client.request('POST', `/api/v1/tasks/${id}/token`, {});
  await world.close();
  expect(refused).toMatchObject({ status: 422, body: { errors: [{ pointer: '#' }] } });
  expect(empty.status).toBe(201);
});
