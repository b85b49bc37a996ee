import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { renderKong } from '../../scripts/render-kong.mjs';
import { METHODS, READ, SENT } from '../../src/api/cors.ts';
import { kongProblems } from '../support/kong-rules.ts';
import { readText } from '../support/sources.ts';

// biome-ignore lint/suspicious/noExplicitAny: it is whatever stands in the file
type Document = any;
const TEMPLATE = readText('kong.yml');
const render = (env: Record<string, string> = {}): Document =>
  parse(renderKong(TEMPLATE, { JWT_SECRET_KEY: 'long enough for a secret of tokens', ...env }));
const plugin = (plugins: Document[], wanted: string) => plugins.find(({ name }) => name === wanted);
const route = (kong: Document, wanted: string) =>
  kong.services.flatMap(({ routes }: Document) => routes).find(({ name }: Document) => name === wanted);

test('pages of the named origins may read what the gateway answers, as far as what the API answers', () => {
  const none = plugin(render().plugins, 'cors');
  expect([none.enabled, none.config.origins]).toEqual([false, []]);
  const kong = render({ CORS_ORIGINS: 'https://app.example.com, http://localhost:5173' });
  expect(kongProblems(kong)).toEqual([]);
  const { enabled, config } = plugin(kong.plugins, 'cors');
  expect([enabled, config.origins]).toEqual([true, ['https://app.example.com', 'http://localhost:5173']]);
  expect(config.methods.join(', ')).toBe(METHODS);
  expect(config.headers.join(', ')).toBe(SENT);
  expect(config.exposed_headers.join(', ')).toBe(READ);
  expect(config.credentials).toBe(false);
});

test('instances are judged by their own health and by what comes of requests, but not by what the API answers', () => {
  const kong = render();
  const [{ name, healthchecks }] = kong.upstreams;
  expect(kong.services.map(({ host }: Document) => host)).toEqual(kong.services.map(() => name));
  const { active, passive } = healthchecks;
  expect(active).toMatchObject({ http_path: '/healthz', healthy: { interval: 5 }, unhealthy: { interval: 2 } });
  expect(passive.unhealthy).toEqual({ http_failures: 0, tcp_failures: 3, timeouts: 3 });
});

test('an upstream that no service goes to is found', () => {
  const kong = render();
  kong.services[0].host = 'api';
  expect(kongProblems({ ...kong, upstreams: [{ name: 'other' }] })).toEqual(['no service goes to other']);
});

test('docs/limits.md says which limits are those of the gateway', () => {
  const kong = render();
  const page = readText('docs/limits.md');
  const figure = (count: number) => count.toLocaleString('en');
  const { second, minute } = plugin(kong.plugins, 'rate-limiting').config;
  expect(page).toContain(`| requests of an address | ${second} a second, ${figure(minute)} a minute |`);
  const guesses = plugin(route(kong, 'auth-public').plugins, 'rate-limiting').config;
  expect(page).toContain(`| ${guesses.minute} a minute, ${guesses.hour} an hour | \`AUTH_RATE_LIMIT_PER_MINUTE\``);
  const [api, openai] = kong.services;
  expect(page).toContain(`| ${api.read_timeout / 1000} s; ${openai.read_timeout / 60_000} minutes below \`/v1\` |`);
  for (const setting of ['MAX_BODY_BYTES', 'MAX_UPLOAD_BYTES']) expect(TEMPLATE).toContain(`\${${setting}}`);
});
