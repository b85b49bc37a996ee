import { filesUnder, readText } from '../support/sources.ts';

const FILE = 'tests/eval/questions.md';

/** A part of a page: below this heading. */
export interface Place {
  page: string;
  heading: string;
}

/** By the first the search was tuned; the others were kept away from that, and the last was written when the second had been looked at. */
export const PARTS = ['tuned', 'held_out', 'fresh'] as const;

/** What is asked, and where it is answered; any of the places will do. */
export interface Question {
  part: (typeof PARTS)[number];
  text: string;
  places: Place[];
}

/** The pages that are searched: the project's own, and texts that were made for this. */
export function readPages(): string[] {
  return [...['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md'], ...filesUnder('docs', /\.md$/)].concat(
    filesUnder('tests/eval/texts', /\.md$/),
  );
}

/** The questions as they stand in the page of questions. */
export function readQuestions(text = readText(FILE)): Question[] {
  const questions: Question[] = [];
  let part: Question['part'] | undefined;
  let page = '';
  let heading = '';
  for (const line of text.split('\n')) {
    const [, level, title = ''] = /^(#{1,3}) (.+)$/.exec(line) ?? [];
    if (level === '#') part = PARTS.find((one) => one === title);
    if (level === '##') page = title;
    if (level === '###') heading = title;
    const [, asked] = /^- (.+?)(?: \(or .+\))?$/.exec(line) ?? [];
    if (asked === undefined) continue;
    if (part === undefined) throw new Error(`"${asked}" stands in no part of ${FILE}: ${PARTS.join(', ')}`);
    const others = [...line.matchAll(/\(or ([^:)]+): ([^)]+)\)/g)].map(([, page = '', heading = '']) => ({
      page,
      heading,
    }));
    questions.push({ part, text: asked, places: [{ page, heading }, ...others] });
  }
  return questions;
}
