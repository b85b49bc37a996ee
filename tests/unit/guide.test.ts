import { basename, dirname, relative } from 'node:path';
import { expect, inject, it } from 'vitest';
import { renderGuide } from '../../scripts/guide-tables.ts';
import { makeRoutes } from '../../scripts/openapi.ts';
import { MAX_JSON_DEPTH, MAX_JSON_NAMES } from '../../src/tasks/clean.ts';
import { filesUnder, readText } from '../support/sources.ts';

it('the tables of the guide are what the code says; `node scripts/guide-tables.ts --write` writes them', async () => {
  for (const { is, should } of await renderGuide()) expect(is).toBe(should);
});

it('every page is in the index of its folder, and every folder in that of docs/', () => {
  const isListed = (path: string) => {
    // A folder is listed by its own index.
    const folder = basename(path) === 'README.md' ? dirname(dirname(path)) : dirname(path);
    return readText(`${folder}/README.md`).includes(`](${relative(folder, path)})`);
  };
  const pages = filesUnder('docs', /\.md$/).filter((path) => path !== 'docs/README.md');
  expect(pages.filter((path) => !isListed(path))).toEqual([]);
});

it('the fixed limits are those of the code', () => {
  const page = readText('docs/limits.md');
  const { paths } = JSON.parse(inject('openapi'));
  const batch = paths['/api/v1/tasks/batch'].post.requestBody.content['application/json'].schema.properties.tasks;
  const limit = paths['/api/v1/tasks'].get.parameters.find(({ name }: { name: string }) => name === 'limit').schema;
  const figure = (count: number) => count.toLocaleString('en');
  expect(page).toContain(`| tasks in a batch | ${figure(batch.maxItems)} |`);
  expect(page).toContain(`| entries on a page | ${figure(limit.maximum)} |`);
  expect(page).toContain(`| JSON | ${figure(MAX_JSON_DEPTH)} levels deep, ${figure(MAX_JSON_NAMES)} names an object`);
});

it('the guide names every route that takes an Idempotency-Key', () => {
  const line = /^- It works on every `POST`[\s\S]*?\. Other routes/m.exec(readText('docs/tasks.md'))?.[0] ?? '';
  const named = [...line.matchAll(/`(\/[^`]*)`/g)].map(([, path = '']) =>
    path.startsWith('/v1/') ? path : `/api/v1${path}`,
  );
  const taking = makeRoutes().routes.filter(({ idempotent }) => idempotent);
  expect(named.sort()).toEqual(taking.map(({ path }) => path).sort());
});
