import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { FORM_OVERHEAD_BYTES, renderKong } from '../../scripts/render-kong.mjs';
import { POLICIES } from '../../src/api/policy.ts';
import { FORM_OVERHEAD_BYTES as OVERHEAD_OF_API } from '../../src/api/upload.ts';
import { isUpload, matchedRoute, uploads } from '../support/kong-routes.ts';

// biome-ignore lint/suspicious/noExplicitAny: it is whatever stands in the file
type Document = any;
const SECRET = 'long enough for a secret of tokens';
const TEMPLATE = readFileSync(new URL('../../kong.yml', import.meta.url), 'utf8');
const render = (env: Record<string, string>): Document => parse(renderKong(TEMPLATE, env));
const isSize = ({ name }: Document) => name === 'request-size-limiting';

test('a file may be as large as the API takes it, and nothing else is larger than a body may be', () => {
  expect(uploads).toHaveLength(2);
  const kong = render({ JWT_SECRET_KEY: SECRET, MAX_FILE_BYTES: '5000', MAX_BODY_BYTES: '400' });
  for (const route of Object.keys(POLICIES)) {
    const [method, path] = route.split(' ') as [string, string];
    for (const headers of [{}, { authorization: 'bearer sk_x' }, { 'x-api-key': 'sk_x' }]) {
      const matched = matchedRoute(kong, method, path.replaceAll(/:\w+/g, 'x'), headers as Record<string, string>);
      const service = kong.services.find(({ routes }: Document) => routes.includes(matched));
      const own = service?.plugins?.find(isSize);
      const { allowed_payload_size: size } = own?.config ?? kong.plugins.find(isSize).config;
      expect(size, route).toBe(isUpload(method, path) ? 5000 + OVERHEAD_OF_API : 400);
    }
  }
  expect(FORM_OVERHEAD_BYTES).toBe(OVERHEAD_OF_API);
  expect(() => render({ JWT_SECRET_KEY: SECRET, MAX_FILE_BYTES: '1e9' })).toThrow('MAX_FILE_BYTES');
});
