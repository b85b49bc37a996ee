import { expect, test } from 'vitest';
import { createLanguage, ExpressionError } from '../../src/expressions/index.ts';

const language = createLanguage({ variables: ['input'] });

test.each([
  ['input.t.substring(0, size(input.t)) == input.t', true],
  ['input.t.substring(input.t.indexOf("an"))', 'an Zoë 😀'],
  ['"😀x".substring(0, 1)', '😀'],
  ['input.list.map(one, one.substring(1, 2))', ['😀', 'b']],
  ['input.t.substring(6, 7) + input.t.substring(15)', '😀😀'],
  ['input.t.split("")[6]', '😀'],
  ['size(input.t.split("")) == size(input.t)', true],
  ['"😀x😀".split("", 2)', ['😀', 'x😀']],
  ['"😀x😀".split("x", 0) + "😀x😀".split("x", -1)', ['😀', '😀']],
  ['input.t.lastIndexOf("😀")', 15],
  ['input.t.indexOf("😀", 7)', 15],
  ['input.t.lastIndexOf("😀", 14)', 6],
  ['input.t.indexOf("no")', -1],
])('characters are what is counted in a text: %s gives %j', (text, value) => {
  const input = { t: 'Grüße 😀 an Zoë 😀', list: ['a😀b', 'abc'] };
  expect(language.parse(text).evaluate({ input })).toEqual(value);
});

test.each(['substring(4)', 'substring(-1)', 'substring(2, 1)', 'substring(0, 4)', 'indexOf("x", 3)', 'substring("x")'])(
  'of a text of three characters, %s is an error, whatever characters they are',
  (call) => {
    const said = ['😀x😀', 'axb'].map((t) => {
      try {
        return language.parse(`input.t.${call}`).evaluate({ input: { t } });
      } catch (error) {
        expect(error).toBeInstanceOf(ExpressionError);
        return (error as Error).message.includes('out of range');
      }
    });
    expect(said).toEqual(call === 'substring("x")' ? [false, false] : [true, true]);
  },
);
