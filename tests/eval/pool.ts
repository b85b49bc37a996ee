import { writeFileSync } from 'node:fs';
import type { Question } from './questions.ts';
import { type Found, rankOf, SHOWN } from './score.ts';

/** What was found for questions that a mode misses, for somebody who judges whether it answers them. */
export class Pool {
  readonly #all = new Map<Question, { missed: boolean; chunks: Map<string, Found[number]> }>();

  /** Takes what a mode of search found for a question. */
  add(question: Question, found: Found): void {
    const one = this.#all.get(question) ?? { missed: false, chunks: new Map() };
    this.#all.set(question, one);
    const rank = rankOf(question, found);
    one.missed ||= rank === undefined || rank > SHOWN;
    for (const chunk of found.slice(0, SHOWN)) one.chunks.set(`${chunk.page} ${chunk.text}`, chunk);
  }

  /**
   * Writes a line of JSON for each question that a mode missed: what is asked, and the first chunks of all modes in an order that says
   * nothing of how they were found, nor whether they are from where the answer is known to be.
   */
  write(file: string): number {
    const missed = [...this.#all].filter(([, { missed }]) => missed);
    const lines = missed.map(([{ text }, { chunks }]) => {
      const sorted = [...chunks.values()].sort((a, b) => (a.text < b.text ? -1 : 1));
      return JSON.stringify({ question: text, chunks: sorted });
    });
    writeFileSync(file, lines.map((line) => `${line}\n`).join(''));
    return lines.length;
  }
}
