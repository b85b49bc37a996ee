import { expect, it } from 'vitest';
import { readPages, readQuestions } from '../eval/questions.ts';
import { figuresOf, rankOf } from '../eval/score.ts';
import { readText } from '../support/sources.ts';

const QUESTIONS = readQuestions();

it('the questions of the evaluation name headings that are there', () => {
  const pages = new Set(readPages());
  const headings = (page: string) =>
    pages.has(page) ? [...readText(page).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading) : [];
  const places = QUESTIONS.flatMap(({ places }) => places);
  expect(places.filter(({ page, heading }) => !headings(page).includes(heading))).toEqual([]);
});

it('they are a few hundred, each asked once, about many pages', () => {
  expect(QUESTIONS.length).toBeGreaterThan(300);
  expect(new Set(QUESTIONS.map(({ text }) => text)).size).toBe(QUESTIONS.length);
  const asked = new Set(QUESTIONS.flatMap(({ places }) => places.map(({ page }) => page)));
  expect(asked.size).toBeGreaterThan(25);
  for (const kept of ['held_out', 'fresh'])
    expect(QUESTIONS.filter(({ part }) => part === kept).length).toBeGreaterThan(80);
});

it('none of them stands in the page that answers it', () => {
  const plain = (text: string) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, ' ');
  const copied = QUESTIONS.filter(({ text, places }) =>
    places.some(({ page }) => plain(readText(page)).includes(plain(text).trim())),
  );
  expect(copied).toEqual([]);
});

it('a question may have a second place', () => {
  const text =
    '# tuned\n## a.md\n\n### One\n- Why? (or b.md: Two: more) (or c.md: Three)\n- How (exactly)?\n\n# held_out\n## c.md\n### Four\n- Who?\n';
  expect(readQuestions(text)).toEqual([
    {
      part: 'tuned',
      text: 'Why?',
      places: [
        { page: 'a.md', heading: 'One' },
        { page: 'b.md', heading: 'Two: more' },
        { page: 'c.md', heading: 'Three' },
      ],
    },
    { part: 'tuned', text: 'How (exactly)?', places: [{ page: 'a.md', heading: 'One' }] },
    { part: 'held_out', text: 'Who?', places: [{ page: 'c.md', heading: 'Four' }] },
  ]);
  expect(() => readQuestions('# other\n## a.md\n### One\n- Why?\n')).toThrow('"Why?" stands in no part');
});

it('what is found is scored by the place of the first chunk that answers', () => {
  const question = { part: 'tuned' as const, text: '?', places: [{ page: 'a.md', heading: 'One' }] };
  const wrong = { page: 'a.md', headings: ['Two'], text: '' };
  const right = { page: 'a.md', headings: ['Top', 'One', 'More of it'], text: '' };
  expect(rankOf(question, [wrong, { page: 'b.md', headings: ['One'], text: '' }, right, right])).toBe(3);
  expect(rankOf(question, [...new Array(10).fill(wrong), right])).toBeUndefined();
  // The title of a page stands above all of it, and means its beginning.
  const top = { part: 'tuned' as const, text: '?', places: [{ page: 'a.md', heading: 'Top' }] };
  expect(rankOf(top, [right, { page: 'a.md', headings: ['Top'], text: '' }])).toBe(2);
  expect(figuresOf([1, 2, 6, undefined])).toEqual({ recall: 0.5, mrr: (1 + 1 / 2 + 1 / 6) / 4 });
});
