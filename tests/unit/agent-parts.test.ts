import { describe, expect, it, test } from 'vitest';
import { readCard } from '../../src/agents/a2a/card.ts';
import { cancelTask, getTask, isOver, readAnswer, sendMessage } from '../../src/agents/a2a/messages.ts';
import { isWithin } from '../../src/agents/loop/reach.ts';

describe('an address that an agent may read', () => {
  const allowed = ['https://api.example.com/public/', 'http://10.0.0.1:8080/a'];
  test.each([
    'https://api.example.com/public/',
    'https://API.example.com/public/x?user=1',
    'https://api.example.com:443/public/x/../y',
    'http://10.0.0.1:8080/a',
    'http://10.0.0.1:8080/a/b#c',
  ])('%s', (url) => expect(isWithin(url, allowed)).toBe(true));

  test.each([
    ['another host', 'https://evil.example.com/public/'],
    ['a host that begins like it', 'https://api.example.com.evil.com/public/'],
    ['the host as a user name', 'https://api.example.com@evil.com/public/'],
    ['a user name', 'https://me:secret@api.example.com/public/'],
    ['another scheme', 'http://api.example.com/public/'],
    ['another port', 'https://api.example.com:8443/public/'],
    ['steps that lead out', 'https://api.example.com/public/../private'],
    ['such steps in disguise', 'https://api.example.com/public/%2e%2e/private'],
    ['a slash in disguise', 'https://api.example.com/public/..%2fprivate'],
    ['parameters of a path', 'https://api.example.com/public/..;/private'],
    ['a folder that begins like it', 'http://10.0.0.1:8080/ab'],
    ['a folder above', 'https://api.example.com/'],
    ['no address', 'public/'],
    ['a file', 'file:///etc/passwd'],
  ])('but not %s', (_, url) => expect(isWithin(url, allowed)).toBe(false));
});

const ENDPOINT = 'https://agent.example.com/';
const face = (more: object = {}) => ({
  url: 'https://agent.example.com/a2a',
  protocolBinding: 'JSONRPC',
  protocolVersion: '1.0',
  ...more,
});
const cardOf = (...supportedInterfaces: object[]) => JSON.stringify({ supportedInterfaces });

describe('an agent card', () => {
  it('gives the first interface that is known here and of the endpoint', () => {
    const grpc = face({ protocolBinding: 'GRPC', url: 'agent.example.com:443' });
    const elsewhere = face({ url: 'https://other.example.com/a2a' });
    const rest = face({ protocolBinding: 'HTTP+JSON', url: 'https://agent.example.com/rest/', tenant: 'blue' });
    expect(readCard(cardOf(grpc, face({ protocolVersion: '2.0' }), elsewhere, rest, face()), ENDPOINT)).toEqual({
      ...{ url: 'https://agent.example.com/rest', binding: 'HTTP+JSON', version: '1.0', tenant: 'blue', push: false },
    });
  });

  it('of 0.3 gives its own address, or another one that speaks JSON-RPC', () => {
    const old = { protocolVersion: '0.3.0', url: ENDPOINT, capabilities: { pushNotifications: true } };
    const found = { binding: 'JSONRPC', version: '0.3', push: true };
    expect(readCard(JSON.stringify(old), ENDPOINT)).toEqual({ url: 'https://agent.example.com', ...found });
    const additionalInterfaces = [{ url: `${ENDPOINT}rpc`, transport: 'JSONRPC' }];
    const other = { ...old, preferredTransport: 'GRPC', additionalInterfaces };
    expect(readCard(JSON.stringify(other), ENDPOINT)).toEqual({ url: `${ENDPOINT}rpc`, ...found });
  });

  test.each([
    ['leads elsewhere', cardOf(face({ url: 'https://evil.example.com/a2a' })), 'leads to https://evil.example.com/a2a'],
    ['leads to another port', cardOf(face({ url: 'https://agent.example.com:81/' })), 'is not of'],
    ['has a user name', cardOf(face({ url: 'https://u@agent.example.com/' })), 'is not of'],
    ['knows only gRPC', cardOf(face({ protocolBinding: 'GRPC' })), 'no interface that is known here'],
    ['is of an unknown version', cardOf(face({ protocolVersion: '10.0' })), 'no interface that is known here'],
    ['names nothing', '{}', 'names no interface'],
    ['is a list', '[1]', 'names no interface'],
    ['is no JSON', '<html>', 'is no JSON'],
  ])('that %s is refused', (_, card, message) => {
    expect(() => readCard(card, ENDPOINT)).toThrow(message);
  });
});

const rpc = { url: ENDPOINT, binding: 'JSONRPC', version: '1.0', push: false } as const;
const answerOf = (result: unknown) => readAnswer(rpc, JSON.stringify({ jsonrpc: '2.0', id: 1, result }));

describe('what an A2A agent answers', () => {
  it('is read by the words of both versions', () => {
    const parts = [
      ...[{ text: 'one' }, { data: { n: 1 } }, { raw: 'AAAA', filename: 'a.png', mediaType: 'image/png' }],
      ...[
        { kind: 'text', text: 'two' },
        { kind: 'file', file: { uri: 'https://x.example', name: 'b' } },
      ],
    ];
    const task = { id: 't', contextId: 'c', status: { state: 'TASK_STATE_COMPLETED' }, artifacts: [{ parts }] };
    const read = {
      ...{ state: 'completed', task_id: 't', context_id: 'c', text: 'one\ntwo', data: [{ n: 1 }] },
      files: [
        { name: 'a.png', media_type: 'image/png', base64: 'AAAA' },
        { name: 'b', url: 'https://x.example' },
      ],
    };
    expect(answerOf({ task })).toEqual(read);
    expect(answerOf(task)).toEqual(read);
    expect(answerOf({ kind: 'message', messageId: 'm', parts: [{ kind: 'text', text: 'hi' }] })).toMatchObject({
      ...{ state: 'completed', text: 'hi' },
    });
  });

  test.each([
    ['TASK_STATE_INPUT_REQUIRED', 'input_required', true],
    ['auth-required', 'auth_required', true],
    ['rejected', 'rejected', true],
    ['TASK_STATE_WORKING', 'working', false],
    ['something-new', 'something_new', false],
  ])('%s is the state %s', (word, state, over) => {
    const answer = answerOf({ id: 't', status: { state: word, message: { parts: [{ text: 'why' }] } } });
    expect([answer.state, isOver(answer), answer.text]).toEqual([state, over, 'why']);
  });

  test.each([
    ['an error', { error: { code: -32602, message: 'bad' } }, { code: 'upstream_rejected', retryable: false }],
    ['an inner error', { error: { code: -32603, message: 'x' } }, { code: 'upstream_unavailable', retryable: true }],
    ['nothing', { result: null }, { code: 'upstream_protocol' }],
    ['a task without a state', { result: { id: 't' } }, { code: 'upstream_protocol' }],
    ['an id that leads elsewhere', { result: { id: '..', status: { state: 'x' } } }, { code: 'upstream_protocol' }],
  ])('%s is told apart', (_, body, error) => {
    expect(() => readAnswer(rpc, JSON.stringify(body))).toThrow(expect.objectContaining(error));
  });
});

it('a request goes to the interface alone, whatever an id is like', () => {
  const rest = { ...rpc, url: 'https://agent.example.com/a2a', binding: 'HTTP+JSON', tenant: 'a/b' } as const;
  expect(getTask(rest, '../x?y#z').url).toBe(
    'https://agent.example.com/a2a/a%2Fb/tasks/..%2Fx%3Fy%23z?historyLength=0',
  );
  const place = 'https://agent.example.com/a2a/a%2Fb/tasks/..%2Fx:cancel';
  expect(cancelTask(rest, '../x')).toMatchObject({ method: 'POST', url: place, body: '{}' });
  const said = { jsonrpc: '2.0', id: 't', method: 'CancelTask', params: { id: 't' } };
  expect(JSON.parse(cancelTask(rpc, 't').body ?? '')).toEqual(said);
  const before = cancelTask({ ...rpc, version: '0.3' }, 't').body ?? '';
  expect(JSON.parse(before)).toEqual({ ...said, method: 'tasks/cancel' });
  const sent = JSON.parse(sendMessage({ ...rpc, tenant: 'blue' }, { id: 'k', input: [1] }).body ?? '');
  expect(sent.params).toEqual({
    tenant: 'blue',
    message: { messageId: 'k', role: 'ROLE_USER', parts: [{ data: [1], mediaType: 'application/json' }] },
    configuration: { returnImmediately: true },
  });
  const old = JSON.parse(
    sendMessage({ ...rpc, version: '0.3' }, { id: 'k', input: [1], push: 'https://x' }).body ?? '',
  );
  expect(old.params).toEqual({
    message: { kind: 'message', messageId: 'k', role: 'user', parts: [{ kind: 'data', data: { input: [1] } }] },
    configuration: { blocking: false, pushNotificationConfig: { url: 'https://x' } },
  });
});
