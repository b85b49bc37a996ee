import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import * as v from 'valibot';
import { describe, expect, inject, it } from 'vitest';
import { makeRoutes, renderOpenapi } from '../../scripts/openapi.ts';
import { POLICIES, type Policy } from '../../src/api/policy.ts';
import { createDocument, type Document, type Media } from '../../src/api/reference/document.ts';
import { TAG_LIST, tagOf } from '../../src/api/reference/names.ts';
import { problemsOf } from '../../src/api/reference/problems.ts';
import { routeKey } from '../../src/api/route.ts';
import { TEST_EVENT } from '../../src/db/webhook-endpoints.ts';
import { PROBLEMS } from '../../src/errors.ts';
import { ENDPOINT_EVENTS } from '../../src/webhooks/events.ts';
import { ROOT, readText } from '../support/sources.ts';

const { routes, registry } = makeRoutes();
const document = JSON.parse(inject('openapi')) as Document;

it('is written down in docs/openapi.json; `node scripts/openapi.ts --write` writes it', async () => {
  expect(readText('docs/openapi.json')).toBe(await renderOpenapi());
});

it('is the same each time it is made', async () => {
  const [one, two] = [await createDocument({ routes, registry }), await createDocument({ routes, registry })];
  expect(JSON.stringify(one)).toBe(JSON.stringify(two));
});

it('passes the linter of Redocly without a word', () => {
  const home = mkdtempSync('/tmp/sutazai-redocly-');
  const lint = spawnSync(
    process.execPath,
    [join(ROOT, 'node_modules/@redocly/cli/bin/cli.js'), 'lint', 'docs/openapi.json', '--format=json'],
    {
      cwd: ROOT,
      encoding: 'utf8',
      // It asks nobody for news, and keeps what it remembers to itself.
      env: {
        ...{ PATH: process.env.PATH ?? '', HOME: home, TMPDIR: home },
        ...{ REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' },
      },
    },
  );
  rmSync(home, { recursive: true, force: true });
  expect(lint.status, lint.stdout + lint.stderr).toBe(0);
  expect(JSON.parse(lint.stdout)).toMatchObject({ totals: { errors: 0, warnings: 0 } });
});

describe.each(routes.map((route) => [routeKey(route), route] as const))('%s', (key, route) => {
  it('says what it answers, with an example of each that the schema takes', () => {
    expect(Object.keys(route.answers ?? {}).length).toBeGreaterThan(0);
    for (const { body, example, texts } of Object.values(route.answers ?? {})) {
      if (body) v.parse(body, example);
      for (const text of Object.values(texts ?? {})) expect(text).not.toBe('');
    }
  });

  it('has an example of its body that it takes, in each content type', () => {
    const files = [...(route.upload ? ['multipart/form-data'] : []), ...(route.raw ?? [])];
    expect(Object.keys(route.fileExamples ?? {})).toEqual(files);
    if (!route.body) return;
    expect(route.example, `${key} has no example`).toBeDefined();
    v.parse(route.body, route.example);
  });

  it('is in a group; one that is missing is a line of TAGS in src/api/reference/names.ts', () => {
    expect(TAG_LIST.map(({ name }) => name)).toContain(tagOf(route));
  });

  it('names no problem as its own that follows from the rest', () => {
    const { problems = [], ...rest } = route;
    const usual = [...problemsOf(rest, POLICIES[key] as Policy).values()].flat();
    expect(problems.filter((code) => usual.includes(code))).toEqual([]);
  });
});

it('gives every operation a name of its own', () => {
  const names = Object.values(document.paths).flatMap((methods) =>
    Object.values(methods).map(({ operationId }) => operationId),
  );
  expect(names).toHaveLength(routes.length);
  expect(new Set(names).size).toBe(names.length);
});

it('describes every message that a webhook can get', () => {
  expect(Object.keys(document.webhooks)).toEqual([...ENDPOINT_EVENTS, TEST_EVENT]);
});

it('has an example of every problem', () => {
  expect(Object.keys(document.components.examples ?? {})).toEqual(Object.keys(PROBLEMS));
});

it('has examples that are as its own schemas say', () => {
  const ajv = new Ajv2020({ strict: false });
  addFormats.default(ajv);
  ajv.addSchema({ $id: 'reference', ...document });
  const wrong = mediaIn(document).flatMap(({ where, media }) => {
    const schema = JSON.parse(JSON.stringify(media.schema).replaceAll('"#/', '"reference#/'));
    const all = [media.example, ...Object.values(media.examples ?? {}).map((one) => shownIn(one))];
    return all
      .filter((one) => one !== undefined && !ajv.validate(schema, one))
      .map(() => `${where}: ${ajv.errorsText()}`);
  });
  expect(wrong).toEqual([]);
});

/** Every place of the document where a body is described. */
function mediaIn(value: unknown, where = ''): Array<{ where: string; media: Media }> {
  if (value === null || typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([name, inner]) =>
    name === 'content' && !where.endsWith('/properties')
      ? Object.entries(inner as Record<string, Media>).map(([type, media]) => ({ where: `${where}/${type}`, media }))
      : mediaIn(inner, `${where}/${name}`),
  );
}

function shownIn(example: object): unknown {
  const name = '$ref' in example ? String(example.$ref).split('/').pop() : undefined;
  return name ? document.components.examples?.[name]?.value : (example as { value: unknown }).value;
}
