import { expect, test } from 'vitest';
import { createLanguage, ExpressionError, parseTemplate, TemplateError } from '../../src/expressions/index.ts';

const language = createLanguage({ variables: ['input', 'steps', 'item'], named: ['steps'] });
const context = {
  input: { n: 3, half: 0.5, name: 'Ann', list: [1, 2, 3], names: ['a', 'b'], at: 1 },
  steps: { find: { status: 'completed', output: { hits: [{ id: 7, text: 'x' }] } } },
};

function errorOf(work: () => unknown): ExpressionError {
  try {
    return work() as never;
  } catch (error) {
    return error as ExpressionError;
  }
}

test.each([
  ['1 + 1', 2],
  ['input.n + 1', 4],
  ['1 + input.half', 1.5],
  ['input.n / 2', 1.5],
  ['7 / 2', 3],
  ['input.n % 2 == 1', true],
  ['input.n == 3 && input.n > 2', true],
  ['input.list[0]', 1],
  ['input.list[input.at]', 2],
  ['input.list + [9]', [1, 2, 3, 9]],
  ['input.list.map(x, x * 2)', [2, 4, 6]],
  ['input.list.filter(x, x > 1).size()', 2],
  ['input.names.map(x, x).join(", ")', 'a, b'],
  ['steps.find.output.hits.map(hit, {"id": hit.id, "who": input.name})', [{ id: 7, who: 'Ann' }]],
  ['steps["find"].status == "completed"', true],
  ['has(input.gone) ? "there" : "not there"', 'not there'],
  ['input.?gone.orValue("no")', 'no'],
  ['"b" in input.names', true],
  ['string(input.n) + "!"', '3!'],
  ['input.list.map(x, string(x)).join(", ")', '1, 2, 3'],
  ['timestamp("2026-01-02T03:04:05Z")', '2026-01-02T03:04:05.000Z'],
  ['json("{\\"a\\": [1]}").a', [1]],
  ['[1, "a", {"b": null}]', [1, 'a', { b: null }]],
])('%s gives %j', (text, value) => {
  expect(language.parse(text).evaluate(context)).toEqual(value);
});

test('it is told before it is worked out what an expression names, and what it gives', () => {
  const { references, type } = language.parse(
    'steps.find.output.hits[0].id == input.n && item["a b"] != input.list[input.at]',
  );
  expect(references).toEqual([
    { root: 'steps', path: ['find', 'output', 'hits', '0', 'id'], at: 0 },
    { root: 'input', path: ['n'], at: 32 },
    { root: 'item', path: ['a b'], at: 43 },
    { root: 'input', path: ['list'], at: 58 },
    { root: 'input', path: ['at'], at: 69 },
  ]);
  expect(type).toBe('bool');
  expect(language.parse('has(steps.a.output.x)').references).toMatchObject([{ path: ['a', 'output', 'x'] }]);
  expect(language.parse('input.list.map(x, x)').type).toBe('list');
  expect(language.parse('input.n').type).toBe('dyn');
});

test.each([
  ['1 +', /Unexpected token/, 3],
  ['output.x', /Unknown variable: output/, 0],
  ['input.n > 2 && process.env', /Unknown variable: process/, 15],
  ['"a" + 1', /string \+ int/, 0],
  ['steps', /wants a name/, 0],
  ['1 == 1 && steps[input.name].output', /wants a name/, 10],
  ['[1].map(steps, steps)', /has a meaning already/, 8],
  ['input.name.matches("(a+)+$")', /no function matches/, 0],
  ['eval("1")', /no function eval/, 0],
])('%s is refused where it is read', (text, message, at) => {
  const error = errorOf(() => language.parse(text));
  expect(error).toBeInstanceOf(ExpressionError);
  expect(error.message).toMatch(message);
  expect(error.at).toBe(at);
});

test('a text that is too long is refused before it is read', () => {
  const error = errorOf(() => language.parse(`"${'a'.repeat(4_095)}"`));
  expect(error.message).toMatch('at most 4096');
});

test.each([
  ['input.gone', /No such key: gone/],
  ['input.constructor', /No such key/],
  ['input.__proto__', /No such key/],
  ['input.list.constructor', /./],
  ['input.name.length', /./],
  ['item.a', /Unknown variable: item/],
  ['input.n + input.name', /no such overload/],
  ['1 / 0', /division by zero/],
  ['1.0 / 0', /JSON cannot hold/],
  ['9007199254740993', /JSON cannot hold/],
  ['type(1)', /no word/],
  ['json("{")', /no JSON/],
])('%s gives an error that says why', (text, message) => {
  const error = errorOf(() => language.parse(text).evaluate(context));
  expect(error).toBeInstanceOf(ExpressionError);
  expect(error.message).toMatch(message);
});

test('what JSON calls __proto__ and constructor is data like any other', () => {
  const input = JSON.parse('{"a": {"__proto__": {"admin": true}}}');
  expect(language.parse('input.a.__proto__.admin').evaluate({ input })).toBe(true);
  expect(language.parse('has(input.a.admin)').evaluate({ input })).toBe(false);
  expect(({} as Record<string, unknown>).admin).toBeUndefined();
});

test('what is called constructor is data like any other, wherever it stands', () => {
  const driver = { driver: 'Ann', constructor: { name: 'Blue', prototype: 2 } };
  const values = { input: { list: [driver, driver], constructor: null }, steps: { constructor: { output: driver } } };
  const give = (text: string) => language.parse(text).evaluate(values);
  expect(give('input')).toEqual(values.input);
  expect(give('steps.constructor.output.constructor.name')).toBe('Blue');
  expect(give('input.list.map(one, one.constructor.prototype)')).toEqual([2, 2]);
  expect(give('input.list.filter(one, has(one.constructor) && "driver" in one).size()')).toBe(2);
  expect(give('input.list[0] == steps.constructor.output && input.list[0].size() == 2')).toBe(true);
  expect(give('json("{\\"constructor\\": [1]}").constructor[0]')).toBe(1);
  expect(parseTemplate(language, { a: '${{ input.list[1] }}' }).fill(values)).toEqual({ a: driver });
});

const big = { input: { many: Array.from({ length: 20_000 }, (_, n) => n), long: 'a'.repeat(1_000_000), gone: {} } };
const doubled = '.map(x, x + x)';

test.each([
  ['a loop in a loop', 'input.many.map(a, input.many.map(b, a))', /too much work/],
  [
    'three loops that look for something',
    'input.many.exists(a, input.many.exists(b, input.many.exists(c, a + b + c < 0)))',
    /too much work/,
  ],
  ['loops that swallow errors', 'input.many.all(a, input.many.all(b, input.gone.x))', /too much work/],
  ['a comparison of lists in a loop', 'input.many.exists(a, input.many == [a])', /too much work/],
  ['a search of lists in a loop', 'input.many.exists(a, -1 in input.many)', /too much work/],
  ['a count of lists in a loop', 'input.many.map(a, size(input.many.map(b, b)))', /too much work/],
  ['a long text in a loop', 'input.many.map(a, input.long.lowerAscii())', /too much work/],
  ['a long text in a long text', 'input.long.contains("b" + input.long.substring(500000))', /too much work/],
  [
    'time zones in a loop',
    'input.many.map(a, timestamp("2026-01-02T03:04:05Z").getHours("Europe/Berlin"))',
    /too much work/,
  ],
  ['two long texts', 'input.long + input.long', /more than 1048576/],
  ['a text that is doubled again and again', `["ab"]${doubled.repeat(25)}`, /more than 1048576|maxDepth/],
  ['a list that is doubled again and again', `[[1]]${doubled.repeat(25)}`, /too much work|maxDepth/],
  ['a list of lists of lists', `[1]${'.map(x, [x, x, x, x, x, x, x, x, x, x])'.repeat(7)}`, /more than 100000 values/],
  ['deep lists', `${'['.repeat(80)}1${']'.repeat(80)}`, /maxDepth/],
  ['deep brackets', `${'('.repeat(2_000)}1${')'.repeat(2_000)}`, /maxDepth/],
  ['very much that is not', `${'!'.repeat(3_000)}true`, /maxAstNodes/],
  ['very much that is negative', `${'-'.repeat(4_000)}1`, /maxAstNodes/],
  ['a long sum', `1${'+1'.repeat(2_000)}`, /maxAstNodes/],
  ['a long choice', `${'true?'.repeat(500)}1${':1'.repeat(500)}`, /maxDepth|maxAstNodes/],
  ['a long way', `input${'.a'.repeat(1_500)}`, /maxDepth/],
])('%s is bounded', (_, text, message) => {
  const before = process.cpuUsage();
  const error = errorOf(() => language.parse(text).evaluate(big));
  const { user, system } = process.cpuUsage(before);
  expect(error).toBeInstanceOf(ExpressionError);
  expect(error.message).toMatch(message);
  expect(user + system).toBeLessThan(1_500_000);
});

test('one expression that was too much leaves nothing behind for the next', () => {
  const loop = language.parse('input.many.exists(a, input.many.exists(b, b < 0))');
  expect(errorOf(() => loop.evaluate(big)).message).toMatch('too much work');
  expect(loop.evaluate({ input: { many: [1, -1] } })).toBe(true);
});

test('a template gives values as they are, and texts with values in them', () => {
  const template = parseTemplate(language, {
    text: 'Dear ${{ input.name }}, ${{ input.n }} of ${{ input.list }}',
    value: '${{ input.list }}',
    deep: [{ map: '${{ {"a": {"b": input.n}} }}' }, '${{ "}}" }}', 4],
    plain: 'no $${{ expression }} }}',
    '${{ key }}': true,
  });
  expect(template.constant).toBe(false);
  expect(template.references.map(({ place }) => place)).toContainEqual(['deep', 0, 'map']);
  expect(template.fill(context)).toEqual({
    text: 'Dear Ann, 3 of [1,2,3]',
    value: [1, 2, 3],
    deep: [{ map: { a: { b: 3 } } }, '}}', 4],
    plain: 'no ${{ expression }} }}',
    '${{ key }}': true,
  });
  expect(parseTemplate(language, { a: ['b', 1, null] })).toMatchObject({ constant: true, references: [] });
});

test('an error of a template says where', () => {
  const unread = errorOf(() => parseTemplate(language, { a: [1, 'see ${{ input.n + }}'] })) as TemplateError;
  expect(unread).toBeInstanceOf(TemplateError);
  expect(unread.place).toEqual(['a', 1]);
  expect(unread.at).toBeGreaterThan(6);
  const open = errorOf(() => parseTemplate(language, '${{ input.n')) as TemplateError;
  expect(open.message).toBe('has no }} at its end');
  const gone = parseTemplate(language, { a: { b: '${{ input.gone }}' } });
  expect((errorOf(() => gone.fill(context)) as TemplateError).place).toEqual(['a', 'b']);
});

/** An input whose `b` is this; tells how often it was read. */
function counted(value: unknown) {
  const asked = { times: 0, input: {} };
  const get = () => {
    asked.times++;
    return value;
  };
  Object.defineProperty(asked.input, 'b', { get, enumerable: true });
  return asked;
}

test.each([
  ['long texts in texts', 'a'.repeat(500_000), 'x${{ input.b }}', 10, /more than 4194304/],
  ['long texts as they are', 'a'.repeat(500_000), '${{ input.b }}', 10, /more than 4194304/],
  [
    'a long text that is in a list often',
    Array(9).fill('a'.repeat(500_000)),
    'x${{ input.b }}',
    1,
    /more than 4194304/,
  ],
  ['long lists', Array(50_000).fill(1), '${{ input.b }}', 15, /too much work/],
  ['loops over long lists', Array(5_000).fill(1), '${{ input.b.all(x, x == 1) }}', 20, /too much work/],
])(
  'of a template of many expressions that make much, %s, no more are worked out than may be',
  (_, b, text, most, message) => {
    const asked = counted(b);
    // What an expression is about is looked through once.
    language.parse('1').evaluate({ input: asked.input });
    asked.times = 0;
    const template = parseTemplate(language, Array(200).fill(text));
    expect(errorOf(() => template.fill({ input: asked.input })).message).toMatch(message);
    expect(asked.times).toBeLessThanOrEqual(most);
    expect(parseTemplate(language, ['${{ 1 + 1 }}', 'x${{ [1] }}']).fill({})).toEqual([2, 'x[1]']);
  },
);

test('a template has a bounded number of expressions, and of characters in them', () => {
  const many = (count: number, text: string) => Array(count).fill(`\${{ ${text} }}`);
  expect(parseTemplate(language, many(1_000, '1')).texts).toHaveLength(1_000);
  const error = errorOf(() => parseTemplate(language, many(1_001, '1'))) as TemplateError;
  expect(error.message).toMatch('more than 1000 together');
  expect(error.place).toEqual([1_000]);
  const long = many(40, `"${'a'.repeat(4_000)}"`);
  expect(errorOf(() => parseTemplate(language, long)).message).toMatch('more than 131072 characters');
});
