import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { expectProblem } from '../support/problem.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const nest = (depth: number, open: string, inner: string, close: string) =>
  open.repeat(depth) + inner + close.repeat(depth);
const names = (count: number) =>
  `{${Array.from({ length: count }, (_, index) => `"${index.toString(36)}":0`).join(',')}}`;
/** A submission as text, with `json` as its metadata. */
const withMetadata = (json: string) => `{"type":"echo","input":{"message":"x"},"metadata":${json}}`;

describe('bodies that were made to hurt', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    client = await world.client();
  });
  afterAll(() => world.close());

  const post = (body: string, path = '/api/v1/tasks') => client.request<PresentedTask>('POST', path, body);
  const stored = async () => (await world.db.selectFrom('tasks').select('id').execute()).length;

  const refused: Array<[string, string, 'bad_request' | 'validation_failed', string?]> = [
    ['65 levels of lists', withMetadata(`{"a":${nest(63, '[', '', ']')}}`), 'validation_failed', 'nests deeper'],
    ['100,000 levels of lists', withMetadata(nest(100_000, '[', '', ']')), 'validation_failed', 'nests deeper'],
    ['100,000 levels of objects', withMetadata(nest(100_000, '{"a":', '1', '}')), 'validation_failed', 'nests deeper'],
    ['100,000 open brackets', '['.repeat(100_000), 'bad_request', 'not JSON'],
    ['100,000 names', withMetadata(names(100_000)), 'validation_failed', 'more than 10000 names'],
    ['100,000 unknown fields', names(100_000), 'validation_failed', 'more than 10000 names'],
    ['NUL in a text', '{"type":"echo","input":{"message":"a\\u0000b"}}', 'validation_failed', 'NUL'],
    ['NUL in a name', withMetadata('{"a\\u0000":1}'), 'validation_failed', 'NUL'],
    ['half of a surrogate pair', '{"type":"echo","input":{"message":"\\ud800"}}', 'validation_failed', 'surrogate'],
    ['the other half', withMetadata('{"a":["\\udc00"]}'), 'validation_failed', 'surrogate'],
    ['1e400', withMetadata('{"a":1e400}'), 'validation_failed', 'too large a number'],
    ['-1e400 in a list', withMetadata('{"a":[1,-1e400]}'), 'validation_failed', 'too large a number'],
    ['__proto__', withMetadata('{"__proto__":{"admin":true}}'), 'validation_failed', 'cannot be used'],
    [
      '__proto__ at the top',
      '{"type":"echo","input":{"message":"x"},"__proto__":{}}',
      'validation_failed',
      'cannot be used',
    ],
    [
      '__proto__ in the input',
      '{"type":"echo","input":{"message":"x","__proto__":1}}',
      'validation_failed',
      'cannot be used',
    ],
    ['an escaped __proto__', withMetadata('{"\\u005f_proto__":1}'), 'validation_failed', 'cannot be used'],
    [
      'constructor at the top',
      '{"type":"echo","input":{"message":"x"},"constructor":{}}',
      'validation_failed',
      'constructor',
    ],
    ['a field twice', '{"type":"echo","type":"chat","input":{"message":"x"}}', 'bad_request', 'twice'],
    ['a field twice, deep inside', withMetadata('{"a":[{"b":1,"b":2}]}'), 'bad_request', 'twice'],
    ['a field twice, once escaped', withMetadata('{"a":1,"\\u0061":2}'), 'bad_request', 'twice'],
    [
      'a field twice behind text full of quotes',
      withMetadata('{"a":"\\\\\\":\\"b\\":", "c" : 1,"c"\n:2}'),
      'bad_request',
      'twice',
    ],
    ['a number', '5', 'validation_failed'],
    ['null', 'null', 'validation_failed'],
    ['a list', '[]', 'validation_failed'],
    ['a text', '"x"', 'validation_failed'],
  ];
  it.each(refused)('S46: refuses %s and stores nothing', async (_, body, code, detail = '') => {
    const before = await stored();
    const problem = expectProblem(await post(body), code);
    expect(`${problem.detail} ${JSON.stringify(problem.errors)}`).toContain(detail);
    expect(await stored()).toBe(before);
    expectProblem(await post(`{"tasks":[${body}]}`, '/api/v1/tasks/batch'), code);
    expect(await stored()).toBe(before);
  });

  it('leaves the prototypes of its own objects as they were', async () => {
    await post(withMetadata('{"__proto__":{"polluted":1}}'));
    const named = { constructor: { prototype: { polluted: 1 } }, prototype: 1, toString: 2 };
    const { status, body } = await post(withMetadata(JSON.stringify(named)));
    expect([status, body.metadata]).toEqual([202, named]);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect((Object as unknown as Record<string, unknown>).polluted).toBeUndefined();
  });

  it.each([
    ['64 levels', nest(62, '{"a":', '[]', '}')],
    ['10,000 names', names(10_000)],
    ['the same name in different objects', '{"a":{"a":{"a":[{"a":1},{"a":2}]}}}'],
    ['colons and quotes inside of texts', '{"a":"\\":\\\\","b\\":":"{\\"c\\":1,\\"c\\":2}"}'],
    ['large numbers', '{"a":1.7976931348623157e308,"b":-0.5,"c":9007199254740993}'],
    ['text of all planes', '{"☃":"\u{1f600} \\ud83d\\ude00 \\u0001"}'],
  ])('stores %s as they are', async (_, json) => {
    const { status, body } = await post(withMetadata(json));
    expect([status, body.metadata]).toEqual([202, JSON.parse(json)]);
    expect((await client.request<PresentedTask>('GET', `/api/v1/tasks/${body.id}`)).body.metadata).toEqual(
      JSON.parse(json),
    );
  });

  it('answers no 500 to JSON texts that were cut or changed at any place', async () => {
    const good = withMetadata('{"a":[1,"\\u00e4\\\\",{"b":null}],"c":"x"}');
    for (let at = 0; at < good.length; at++)
      for (const body of [
        good.slice(0, at),
        `${good.slice(0, at)}"${good.slice(at + 1)}`,
        `${good.slice(0, at)}\\${good.slice(at)}`,
      ])
        expect([202, 400, 422], body).toContain((await post(body || ' ')).status);
  });
});
