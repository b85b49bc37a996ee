import * as v from 'valibot';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Agent } from '../../src/agents/agent.ts';
import type { Outcome } from '../../src/agents/health.ts';
import { createProbe } from '../../src/agents/probe.ts';
import { AGENT_CONFIGS } from '../../src/agents/types.ts';
import { createModelClient, type ModelClient } from '../../src/clients/ollama.ts';
import { createOutbound } from '../../src/clients/outbound.ts';
import { createLog } from '../../src/log.ts';
import { type FakeOllama, startFakeOllama } from '../support/fake-ollama.ts';
import { hangUp, json, type ScriptedHttp, silence, startScriptedHttp } from '../support/scripted-http.ts';

let host: ScriptedHttp;
let ollama: FakeOllama;
let models: ModelClient;
const outbound = createOutbound(['127.0.0.1']);
beforeAll(async () => {
  [host, ollama] = await Promise.all([startScriptedHttp(), startFakeOllama()]);
  models = createModelClient({ hosts: [ollama.url], allowed: [], autoPull: false, log: createLog('silent') });
});
afterAll(async () => {
  await models.close();
  await outbound.close();
  await Promise.all([host.close(), ollama.close()]);
});
beforeEach(() => host.script(json(200, {})));

const forever = new AbortController().signal;

function ask(type: Agent['type'], config: object = {}, more: object = {}, slowMs?: number): Promise<Outcome> {
  const parsed = v.parse<v.GenericSchema>(AGENT_CONFIGS[type], config);
  const agent = { id: 'x', name: 'x', type, base: host.url, config: parsed, secrets: {}, ...more } as Agent;
  return createProbe({ outbound, models, slowMs })(agent, forever);
}

test('a service of which nobody said where it tells how it is only has to answer', async () => {
  host.script(json(404, {}));
  expect(await ask('http')).toEqual({ source: 'probe', latencyMs: expect.any(Number), status: 404 });
  expect(host.asked).toMatchObject([{ method: 'HEAD', url: '/' }]);
  host.script(json(503, {}));
  expect(await ask('http')).toMatchObject({ failure: 'It answered 503.', status: 503 });
});

test.each([
  [200, undefined],
  [204, undefined],
  [302, 'It answered 302.'],
  [404, 'It answered 404.'],
])('at a path of its own %i means %s', async (status, failure) => {
  host.script(json(status, {}, { location: '/elsewhere' }));
  expect(await ask('http', { health: { path: '/healthz?deep=1' } })).toMatchObject({
    status,
    ...(failure ? { failure } : {}),
  });
  expect(host.asked[0]).toMatchObject({ method: 'GET', url: '/healthz?deep=1' });
});

test('headers go along as with a call, but those that only an input could fill', async () => {
  const headers = { 'X-Key': 'k-${{ secrets.key }}', 'X-Plain': 'p', 'X-Who': '${{ input.who }}' };
  await ask('http', { request: { headers } }, { secrets: { key: 'sesame' } });
  expect(host.asked[0]?.headers).toMatchObject({ 'x-key': 'k-sesame', 'x-plain': 'p' });
  expect(host.asked[0]?.headers).not.toHaveProperty('x-who');
});

test('what fails once is tried again before it counts', async () => {
  host.script(hangUp, json(200, {}));
  expect(await ask('http')).not.toHaveProperty('failure');
  expect(host.asked).toHaveLength(2);
  host.script(hangUp);
  expect(await ask('http')).toMatchObject({ failure: 'It gave no answer (UND_ERR_SOCKET).' });
  expect(host.asked).toHaveLength(2);
});

test('one that says nothing has failed when half its interval is over, and of one that is slow that is noted', async () => {
  host.script(silence);
  const outcome = await ask('http', { health: { interval_seconds: 2 } });
  expect(outcome.failure).toBe('It did not answer within 1 s.');
  expect(outcome.latencyMs).toBeLessThan(1_500);
  expect(host.asked).toHaveLength(1);
  host.script(json(200, {}));
  const slow = await ask('http', {}, {}, 0);
  expect(slow).toMatchObject({ note: expect.stringMatching(/^It took \d\.\d s to answer\.$/), status: 200 });
  expect(slow).not.toHaveProperty('failure');
});

test('nobody listens, or nobody may: that is said', async () => {
  expect(await ask('http', {}, { base: 'http://127.0.0.1:9' })).toMatchObject({
    failure: 'It gave no answer (ECONNREFUSED).',
  });
  expect((await ask('http', {}, { base: 'http://10.1.2.3' })).failure).toContain('EGRESS_ALLOW');
});

test.each([
  [json(200, { data: [{ id: 'big-1' }, { id: 'small-1' }] }), {}],
  [json(200, { data: [{ id: 'big-1' }] }), { note: 'It does not list the model small-1.' }],
  [json(200, 'something else'), {}],
  [json(401, {}), { failure: 'It refuses its key (401).' }],
  [json(404, {}), {}],
  [json(502, {}), { failure: 'It answered 502.' }],
])('a chat-completions endpoint is asked for its models: %#', async (reaction, found) => {
  host.script(reaction);
  const {
    source: _,
    latencyMs: __,
    status: ___,
    ...rest
  } = await ask('openai', { model: 'small-1' }, { secrets: { api_key: 'k1' } });
  expect(rest).toEqual(found);
  expect(host.asked[0]).toMatchObject({ method: 'GET', url: '/v1/models', headers: { authorization: 'Bearer k1' } });
});

test('an A2A agent has to show its card', async () => {
  const card = { protocolVersion: '0.3.0', url: `${host.url}/rpc`, name: 'x' };
  host.script(json(200, card));
  expect(await ask('a2a')).not.toHaveProperty('failure');
  expect(host.asked[0]).toMatchObject({ method: 'GET', url: '/.well-known/agent-card.json' });
  host.script(json(200, { ...card, url: 'http://127.0.0.2:1/rpc' }));
  expect((await ask('a2a')).failure).toContain('which is not of');
  host.script(json(500, {}));
  expect((await ask('a2a')).failure).toBe('It answered 500 when it was asked for its agent card.');
});

test('a model of our own hosts has to be there, on a host that answers', async () => {
  expect(await ask('ollama')).not.toHaveProperty('failure');
  expect(await ask('ollama', { model: 'tinyllama' })).not.toHaveProperty('failure');
  const missing = await ask('ollama', { model: 'nobody-has-it' });
  expect(missing).not.toHaveProperty('failure');
  expect(missing.note).toMatch(/^The model nobody-has-it is not there. \S+ answers in its place.$/);
  const pulling = createModelClient({ hosts: [ollama.url], allowed: [], autoPull: true, log: createLog('silent') });
  const agent = { type: 'ollama', config: v.parse(AGENT_CONFIGS.ollama, { model: 'nobody-has-it' }) } as Agent;
  const pulled = await createProbe({ outbound, models: pulling })(agent, forever);
  expect(pulled).toMatchObject({ note: 'The model nobody-has-it is not there. The next call has it pulled.' });
  await pulling.close();
  const known = ollama.models.splice(0);
  const empty = createModelClient({ hosts: [ollama.url], allowed: [], autoPull: false, log: createLog('silent') });
  const nothing = await createProbe({ outbound, models: empty })(agent, forever);
  expect(nothing.failure).toBe('The model nobody-has-it is not there.');
  await empty.close();
  ollama.models.push(...known);
  ollama.everything = () => true;
  const asked = ask('ollama', { model: 'tinyllama', health: { interval_seconds: 1 } });
  expect((await asked).failure).toMatch(/No model host answers|did not answer within 1 s/);
  expect(host.asked).toEqual([]);
});
