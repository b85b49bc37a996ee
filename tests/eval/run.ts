import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { machine, table } from '../load/bench.ts';
import { ROOT } from '../support/sources.ts';
import { startLibrary } from './library.ts';
import { Pool } from './pool.ts';
import { PARTS, readPages, readQuestions } from './questions.ts';
import { DEPTH, type Figures, figuresOf, rankOf, SHOWN } from './score.ts';

const MODES = ['vector', 'text', 'hybrid'] as const;
/** That of `rag.answer`, where nothing is said. */
const JUDGED = 'hybrid';
const WANTED = 0.9;
const PAGE = join(ROOT, 'docs', 'documents.md');
const [OPEN, CLOSE] = ['<!-- eval: written by the command, not by hand -->', '<!-- end of eval -->'];
const HELP = `npm run eval -- [options]

Starts the product with its embedded parts, ingests the pages of the project and some made texts through the API, asks the questions
of tests/eval/questions.md in each mode of search, and prints how often one of the first ${SHOWN} chunks is from where the answer is
(recall@${SHOWN}), and how far up the first of them stands (MRR): for the questions that the search was tuned by, for those that were held out,
for fresh ones, and for all. Ends with 1 where recall@${SHOWN} of the mode ${JUDGED} over all of them is below ${WANTED}.

  --write        puts the table into docs/documents.md
  --misses       names the questions that were not answered, with what was found in their place
  --pool <file>  writes the first chunks of all modes for each question that one of them misses, as lines of JSON, to be judged
  --help         says this`;

const { values } = parseArgs({
  options: {
    write: { type: 'boolean', default: false },
    misses: { type: 'boolean', default: false },
    pool: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}

const questions = readQuestions();
const pool = new Pool();
const library = await startLibrary(readPages());
const columns = [...PARTS, 'all'] as const;
const figures: Array<{ mode: string } & Record<(typeof columns)[number], Figures>> = [];
const began = performance.now();
try {
  for (const mode of MODES) {
    const ranks: Array<number | undefined> = [];
    for (const question of questions) {
      const found = await library.search(question.text, mode, DEPTH);
      const rank = rankOf(question, found);
      ranks.push(rank);
      pool.add(question, found);
      if (!values.misses || (rank !== undefined && rank <= SHOWN)) continue;
      const wanted = question.places.map(({ page, heading }) => `${page}: ${heading}`).join(' or ');
      console.log(`${mode}, ${question.part}, ${rank ?? 'not found'}: ${question.text}\n  wanted ${wanted}`);
      for (const { page, headings } of found.slice(0, 3)) console.log(`  found  ${page}: ${headings.join(' › ')}`);
    }
    const of = (part: string) => figuresOf(ranks.filter((_, at) => part === 'all' || questions[at]?.part === part));
    figures.push({ mode, tuned: of('tuned'), held_out: of('held_out'), fresh: of('fresh'), all: of('all') });
  }
} finally {
  await library.close();
}

const seconds = Math.round((performance.now() - began) / 1000);
const rows = figures.map(({ mode, ...parts }) => [
  `\`${mode}\``,
  ...columns.flatMap((part) => [parts[part].recall.toFixed(3), parts[part].mrr.toFixed(3)]),
]);
const counts = PARTS.map((part) => `${questions.filter((one) => one.part === part).length} \`${part}\``).join(', ');
const result = `${questions.length} questions (${counts}), ${library.pages} pages in ${library.chunks} chunks, ${library.model}. ${new Date().toISOString().slice(0, 10)}; ${machine()}.

${table([['mode', ...columns.flatMap((part) => [`${part}: recall@${SHOWN}`, 'MRR'])], ...rows])}`;
console.log(`${result}\n\nIngested in ${library.seconds} s, asked ${MODES.length} times in ${seconds} s.`);
if (values.write) {
  const page = readFileSync(PAGE, 'utf8');
  const [from, to] = [page.indexOf(OPEN), page.indexOf(CLOSE)];
  if (from < 0 || to < from) throw new Error(`docs/documents.md has no part between "${OPEN}" and "${CLOSE}"`);
  writeFileSync(PAGE, `${page.slice(0, from + OPEN.length)}\n\n${result}\n\n${page.slice(to)}`);
}
if (values.pool !== undefined)
  console.log(`${pool.write(values.pool)} questions with what was found are in ${values.pool}.`);
const judged = figures.find(({ mode }) => mode === JUDGED)?.all.recall ?? 0;
if (judged < WANTED) console.error(`recall@${SHOWN} of ${JUDGED} is ${judged.toFixed(3)}, below ${WANTED}`);
process.exit(judged < WANTED ? 1 : 0);
