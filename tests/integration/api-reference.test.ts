import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { POLICIES } from '../../src/api/policy.ts';
import type { Document } from '../../src/api/reference/document.ts';
import { rawRequest } from '../support/raw-http.ts';
import { createWorld, type World } from '../support/world.ts';

describe('the reference', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld();
  });
  afterAll(() => world.close());

  it('describes every route, and is told where it is', async () => {
    const { status, body } = await world.anonymous.request<Document>('GET', '/openapi.json');
    expect(status).toBe(200);
    expect(body.openapi).toBe('3.1.0');
    expect(body.servers).toEqual([{ url: world.url }]);
    const described = Object.entries(body.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`),
    );
    expect(described.sort()).toEqual(Object.keys(POLICIES).sort());
  });

  it('has the input of each task type, chosen by the type', async () => {
    const { body } = await world.anonymous.request<Document>('GET', '/openapi.json');
    const types = await (await world.client()).request<{ data: Array<{ name: string }> }>('GET', '/api/v1/task-types');
    expect(body.components.schemas?.NewTask?.discriminator).toEqual({
      propertyName: 'type',
      mapping: Object.fromEntries(types.body.data.map(({ name }) => [name, `#/components/schemas/NewTask.${name}`])),
    });
  });

  it('is a page whose parts all come from here', async () => {
    const page = await fetch(`${world.url}/docs`);
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'; script-src 'self'");
    const text = await page.text();
    expect(text).not.toContain('://');
    const sources = [...text.matchAll(/(?:src|data-url)="([^"]+)"/g)].map(([, source]) => source as string);
    expect(sources).toHaveLength(2);
    for (const source of sources) expect((await fetch(world.url + source)).status).toBe(200);
  });

  it('packs its script where the client can unpack it, and lets it be kept', async () => {
    const plain = await rawRequest(world.url, { path: '/docs/reference.js' });
    expect(plain.headers.get('content-encoding')).toBeNull();
    const packed = await fetch(`${world.url}/docs/reference.js`, { headers: { 'accept-encoding': 'gzip' } });
    expect(packed.headers.get('content-encoding')).toBe('gzip');
    expect(packed.headers.get('cache-control')).toBe('private, max-age=31536000, immutable');
    // fetch unpacks it by itself.
    expect((await packed.text()).length).toBe(plain.body.length);
    expect(plain.body).toContain('createApiReference');
  });

  it('is linked from the first page, for programs and for people', async () => {
    const { body } = await world.anonymous.request('GET', '/');
    expect(body).toEqual({
      name: 'SutazAI',
      links: {
        docs: `${world.url}/docs`,
        openapi: `${world.url}/openapi.json`,
        health: `${world.url}/healthz`,
        readiness: `${world.url}/readyz`,
        dashboard: `${world.url}/admin/queues`,
      },
    });
    const page = await fetch(world.url, { headers: { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' } });
    expect(page.headers.get('content-type')).toContain('text/html');
    for (const path of ['/docs', '/openapi.json', '/healthz', '/readyz', '/admin/queues'])
      expect(await page.clone().text()).toContain(`href="${path}"`);
  });
});

it('names no dashboard where there is none', async () => {
  const world = await createWorld({ env: { ENABLE_MONITORING: 'false' } });
  const { body } = await world.anonymous.request<{ links: object }>('GET', '/');
  await world.close();
  expect(body.links).not.toHaveProperty('dashboard');
});

it('calls the API by its public address', async () => {
  const world = await createWorld({ env: { PUBLIC_URL: 'https://queue.example.com' } });
  const { body } = await world.anonymous.request<Document>('GET', '/openapi.json');
  await world.close();
  expect(body.servers).toEqual([{ url: 'https://queue.example.com' }]);
});

it('opens to any account, and to nobody else, where DOCS is closed', async () => {
  const world = await createWorld({ env: { DOCS: 'closed' } });
  const viewer = await world.client('viewer');
  const paths = ['/', '/docs', '/docs/reference.js', '/openapi.json'];
  const statuses = async (client: typeof viewer) =>
    Promise.all(paths.map(async (path) => (await client.request('GET', path)).status));
  const seen = [await statuses(world.anonymous), await statuses(viewer)];
  await world.close();
  expect(seen).toEqual([
    [401, 401, 401, 401],
    [200, 200, 200, 200],
  ]);
});
