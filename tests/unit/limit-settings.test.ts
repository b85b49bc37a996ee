import { expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';

it.each([
  ['CORS_ORIGINS', '*'],
  ['CORS_ORIGINS', 'null'],
  ['CORS_ORIGINS', 'https://app.example.com/'],
  ['CORS_ORIGINS', 'https://app.example.com/page'],
  ['CORS_ORIGINS', 'https://App.example.com'],
  ['CORS_ORIGINS', 'https://*.example.com'],
  ['CORS_ORIGINS', 'app.example.com'],
  ['TRUSTED_PROXIES', 'gateway'],
  ['TRUSTED_PROXIES', '10.0.0.0/33'],
  ['TRUSTED_PROXIES', '10.0.0'],
  ['TRUSTED_PROXIES', '10.0.0.1,*'],
  ['RATE_LIMIT_PER_MINUTE', '-1'],
  ['AUTH_RATE_LIMIT_PER_MINUTE', 'off'],
  ['MAX_WAITING_TASKS_PER_USER', '1.5'],
])('%s=%s is refused by name', (name, value) => {
  expect(() => loadConfig({ [name]: value })).toThrow(`${name}="${value}": wants`);
});

it('lists of origins and proxies are taken as they are meant', () => {
  const { http } = loadConfig({
    CORS_ORIGINS: 'https://app.example.com, http://localhost:5173',
    TRUSTED_PROXIES: '10.0.0.0/8, 2001:db8::/32,192.0.2.1',
  });
  expect(http.corsOrigins).toEqual(['https://app.example.com', 'http://localhost:5173']);
  expect(http.trustedProxies).toEqual(['10.0.0.0/8', '2001:db8::/32', '192.0.2.1']);
});

it('limits are on unless they are set to 0, but for tokens', () => {
  expect(loadConfig({}).limits).toEqual({
    authPerMinute: 30,
    streams: { all: 5000, perUser: 1000 },
    user: { requests_per_minute: 1200, waiting_tasks: 100_000, running_tasks: 0, tokens_per_day: 0 },
  });
});
