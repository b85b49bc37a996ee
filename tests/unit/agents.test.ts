import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { agentOf } from '../../src/agents/agent.ts';
import { baseOf, disagrees, endpoint } from '../../src/agents/endpoint.ts';
import { changedSecrets, changeSecrets, newSecrets, openSecrets, sealSecrets } from '../../src/agents/secrets.ts';
import { AGENT_CONFIGS } from '../../src/agents/types.ts';
import { fieldErrors } from '../../src/api/validate.ts';
import type { AgentRow } from '../../src/db/agents.ts';
import type { AgentType } from '../../src/db/schema.ts';
import { createSecretBox } from '../../src/secretbox.ts';

const box = createSecretBox(Buffer.alloc(32, 7).toString('base64'));

function errorsOf(schema: v.GenericSchema<unknown, unknown>, given: unknown) {
  const parsed = v.safeParse(schema, given);
  return parsed.success ? [] : fieldErrors(parsed.issues).map(({ pointer, detail }) => `${pointer} ${detail}`);
}

const row = (more: Partial<AgentRow>): AgentRow =>
  ({
    id: 'x',
    name: 'a',
    type: 'http',
    endpoint: 'http://host/',
    port: null,
    config: {},
    secrets: null,
    ...more,
  }) as never;

describe('the configuration of an agent', () => {
  it.each<[AgentType, object]>([
    ['http', {}],
    ['a2a', {}],
    ['openai', { model: 'gpt' }],
    ['ollama', {}],
  ])('of the type %s says what holds where nothing is said', (type, config) => {
    const whole = v.parse(AGENT_CONFIGS[type] as v.GenericSchema<unknown, object>, config);
    expect(whole).toMatchObject({
      ...{ timeout_seconds: 60, retries: 'idempotent', max_response_bytes: 1_048_576 },
      health: { method: 'GET', interval_seconds: 30 },
    });
    // What came out is taken again.
    expect(v.parse(AGENT_CONFIGS[type] as v.GenericSchema<unknown, object>, whole)).toEqual(whole);
  });

  it.each<[string, AgentType, object, string]>([
    ['an unknown field', 'http', { url: 'x' }, '#/url is not known here'],
    ['an unknown field further down', 'a2a', { health: { port: 1 } }, '#/health/port is not known here'],
    ['a path that is none', 'http', { request: { path: 'http://else' } }, '#/request/path must be a path'],
    ['a path with a blank', 'http', { request: { path: '/${{ "a}}b" }}/a b' } }, '#/request/path must be a path'],
    ['a body with GET', 'http', { request: { method: 'GET', body: 1 } }, '#/request/body cannot go with GET'],
    [
      'a header of the connection',
      'http',
      { request: { headers: { Host: 'x' } } },
      '#/request/headers/Host is a header',
    ],
    ['the key of the queue', 'a2a', { headers: { 'Idempotency-Key': 'x' } }, '#/headers/Idempotency-Key is a header'],
    ['our own header', 'a2a', { headers: { 'SUTAZAI-callback': 'x' } }, '#/headers must not name the header'],
    ['a header twice', 'openai', { model: 'x', headers: { a: '', A: '' } }, '#/headers must not name a header twice'],
    ['no model', 'openai', {}, '#/model is missing'],
    ['a word for retries', 'http', { retries: 'always' }, '#/retries must be true, false or "idempotent"'],
    ['two tools of a name', 'ollama', { tools: [search, search] }, '#/tools must not have two'],
    ['a tool of no kind', 'ollama', { tools: [{ type: 'shell', name: 'x' }] }, '#/tools/0/type'],
    ['a tool that may call nothing', 'ollama', { tools: [{ ...get, urls: [] }] }, '#/tools/0/urls must name'],
    ['endless steps', 'ollama', { max_steps: 101 }, '#/max_steps must be a whole number from 1 to 100'],
  ])('is refused with %s', (_, type, config, error) => {
    expect(errorsOf(AGENT_CONFIGS[type], config)).toEqual([expect.stringContaining(error)]);
  });
});

const search = { type: 'search', name: 'find', collection: 'notes' };
const get = { type: 'http_get', name: 'get', urls: ['https://example.com/'] };

describe('secrets', () => {
  it('are sealed together, and their names alone can be read', () => {
    const columns = sealSecrets(box, { token: 'hush', api_key: 'quiet' });
    expect(columns.secret_names).toEqual(['api_key', 'token']);
    expect(columns.secrets?.includes('hush')).toBe(false);
    expect(openSecrets(box, columns)).toEqual({ token: 'hush', api_key: 'quiet' });
    expect(sealSecrets(box, {})).toEqual({ secrets: null, secret_names: [] });
  });

  it('are changed one by one: those that are not named stay, null forgets', () => {
    expect(changeSecrets({ a: '1', b: '2' }, { b: null, c: '3' })).toEqual({ a: '1', c: '3' });
  });

  it.each([
    ['a line break', { a: 'x\r\nSet-Cookie: y' }],
    ['nothing', { a: '' }],
    ['a name that no expression can say', { 'a-b': 'x' }],
    ['null at the beginning', { a: null }],
    ['a number', { a: 1 }],
  ])('are refused with %s', (_, given) => expect(errorsOf(newSecrets, given)).toHaveLength(1));

  it('may have names that every object has in JavaScript', () => {
    const given = { constructor: 'x', prototype: 'y', a: 'z' };
    expect(v.parse(newSecrets, given)).toEqual(given);
    expect(errorsOf(newSecrets, { constructor: '' })).toEqual(['#/constructor must not be empty']);
  });

  it('may be forgotten later', () => expect(errorsOf(changedSecrets, { a: null })).toEqual([]));
});

describe('the endpoint', () => {
  it.each([
    ['http://host', null, 'http://host'],
    ['http://host/', 9000, 'http://host:9000'],
    ['https://host/api/', 8443, 'https://host:8443/api'],
    ['http://host:9000/a', 9000, 'http://host:9000/a'],
  ])('%s with the port %s is %s', (given, port, base) => expect(baseOf(given, port)).toBe(base));

  it('and the port may not say different things', () => {
    expect(disagrees('http://host:1', 2)).toBe(true);
    expect(disagrees('http://host:2', 2)).toBe(false);
    expect(disagrees('http://host', 2)).toBe(false);
  });

  it.each(['host', '/path', 'http://host?x=1', 'http://host/#x'])('%s is refused', (given) =>
    expect(errorsOf(endpoint, given)).toHaveLength(1),
  );
});

describe('an agent', () => {
  it('is made of its row, with its secrets open', () => {
    const { secrets } = sealSecrets(box, { token: 'hush' });
    const agent = agentOf(row({ port: 81, secrets, config: { max_concurrency: 2 } }), box);
    expect(agent).toMatchObject({ base: 'http://host:81', config: { max_concurrency: 2 }, secrets: { token: 'hush' } });
    expect(agentOf(row({ type: 'ollama', endpoint: null }), box)).toMatchObject({ base: '', config: { tools: [] } });
  });

  it.each([{ config: { later: 1 } }, { type: 'telnet' as AgentType }])(
    'that is not known any more says so: %j',
    (more) => expect(() => agentOf(row(more), box)).toThrow(/not valid any more/),
  );
});
