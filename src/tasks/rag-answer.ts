import * as v from 'valibot';
import { readCitations } from './answering/citations.ts';
import { arrange, distinct, fitInto, type Passage } from './answering/passages.ts';
import { newFence, promptOf, quote } from './answering/prompt.ts';
import { defineTask } from './define.ts';
import {
  collectionName,
  jsonObject,
  maxCharacters,
  modelChoice,
  modelName,
  strictObject,
  wholeNumber,
} from './schemas.ts';
import { textRequest } from './text-schemas.ts';
import type { ChatAnswer, Hit, Message, SearchRequest, Tools } from './tools.ts';
import { searchMode, WRONG_FOR_MODE } from './vector-search.ts';

const DEFAULT_SOURCES = 8;
/** So many are looked at for each that is wanted: some say the same, and some are too long. */
const SPARE = 2;
/** The part of the context, and so many tokens at most, that is left for the answer where `num_predict` says nothing. */
const ANSWER_SHARE = 0.25;
const MAX_ANSWER_TOKENS = 1_024;
/** Below this no source is worth reading. */
const LEAST_TOKENS = 32;
const NOTHING = 'Nothing was found in the collection that answers this.';

/** A chunk as it is cited. What is no chunk of a document has no place in one. */
const citation = v.strictObject({
  n: v.number(),
  id: v.union([v.string(), v.number()]),
  document_id: v.nullable(v.string()),
  chunk: v.nullable(v.number()),
  score: v.number(),
  text: v.string(),
  title: v.optional(v.string()),
  heading: v.optional(v.string()),
});

export const ragAnswer = defineTask({
  name: 'rag.answer',
  title: 'Answer from documents',
  summary: 'Answers a question from what is found in a collection, with citations; says so where nothing is found.',
  lane: 'llm',
  vectors: true,
  input: v.pipe(
    strictObject({
      collection: collectionName,
      question: v.pipe(v.string(), v.minLength(1, 'must not be empty'), maxCharacters(8_000)),
      model: textRequest.model,
      fallback: textRequest.fallback,
      limit: v.optional(wholeNumber(1, 50)),
      mode: searchMode,
      filter: v.optional(jsonObject),
      score_threshold: v.optional(v.number()),
      options: textRequest.options,
      think: textRequest.think,
      keep_alive: textRequest.keep_alive,
    }),
    v.check(({ mode, score_threshold }) => mode !== 'text' || score_threshold === undefined, WRONG_FOR_MODE),
  ),
  output: v.strictObject({
    answer: v.string(),
    found: v.pipe(v.boolean(), v.description('False where nothing was found, and no model was asked.')),
    citations: v.pipe(v.array(citation), v.description('The chunks that the answer cites, as [n].')),
    uncited: v.pipe(v.array(citation), v.description('Those that the model has read besides.')),
    done_reason: v.string(),
    model: v.optional(modelName),
    model_reason: v.optional(modelChoice.model_reason),
    model_missing: modelChoice.model_missing,
  }),
  defaults: { attempts: 3, timeoutSeconds: 600, backoff: { minMs: 2_000, maxMs: 60_000 } },
  examples: [{ collection: 'notes', question: 'Where can I make tea?', limit: 4 }],
  async run({ collection, question, limit = DEFAULT_SOURCES, mode = 'hybrid', ...input }, tools) {
    const { filter, score_threshold, ...asked } = input;
    const request: SearchRequest = { collection, query: question, mode, limit: limit * SPARE };
    const { hits } = await tools.vectors.search({ ...request, filter, score_threshold });
    const passages = distinct(hits.flatMap(passageOf), limit);
    if (passages.length === 0)
      return { answer: NOTHING, found: false, citations: [], uncited: [], done_reason: 'nothing_found' };
    tools.progress(null, `${passages.length} passages found`);
    const { sources, answered } = await ask(question, passages, asked, tools);
    const { answer, cited } = readCitations(answered.message.content, sources.length);
    const numbered = sources.map(({ shown: _, ...source }, at) => ({ n: at + 1, ...source }));
    const { done_reason, model, model_reason, model_missing } = answered;
    return {
      ...{ answer, found: true, done_reason, model, model_reason },
      ...(model_missing === undefined ? {} : { model_missing }),
      citations: numbered.filter(({ n }) => cited.includes(n)),
      uncited: numbered.filter(({ n }) => !cited.includes(n)),
    };
  },
});

/** What is asked of the model besides; it is given no tools, so that no text can use one. */
type Asked = Pick<v.InferOutput<typeof ragAnswer.input>, 'model' | 'fallback' | 'options' | 'think' | 'keep_alive'>;

/** Asks with as many sources as fit. Counts of tokens are estimates: where the model says that it was too much, it is asked with half. */
async function ask(question: string, passages: Passage[], asked: Asked, tools: Tools) {
  const fence = newFence();
  const { tokens: context, count } = await tools.models.context(asked);
  const wanted = asked.options?.num_predict ?? 0;
  const forAnswer = wanted > 0 ? wanted : Math.min(MAX_ANSWER_TOKENS, Math.floor(context * ANSWER_SHARE));
  const frame = countAll(promptOf({ question, sources: [], fence }), count);
  const cost = (passage: Passage) => count(quote({ ...passage, shown: passage.text }, 10, fence));
  let room = Math.max(context - forAnswer - frame, LEAST_TOKENS);
  for (;;) {
    const sources = arrange(fitInto(passages, room, cost));
    try {
      const answered: ChatAnswer = await tools.models.chat({
        ...asked,
        messages: promptOf({ question, sources, fence }),
      });
      return { sources, answered };
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'context_exceeded' || room <= LEAST_TOKENS) throw error;
      room = Math.max(Math.floor(Math.min(room, total(sources, cost)) / 2), LEAST_TOKENS);
    }
  }
}

function countAll(messages: Message[], count: (text: string) => number): number {
  return messages.reduce((sum, { content }) => sum + count(content), 0);
}

function total(sources: Passage[], cost: (passage: Passage) => number): number {
  return sources.reduce((sum, source) => sum + cost(source), 0);
}

/** Points without a text, such as vectors of a user's own, say nothing. */
function passageOf({ id, score, text, payload }: Hit): Passage[] {
  if (text === undefined || text.trim() === '') return [];
  const { document_id, chunk, title, heading } = payload;
  return [
    {
      ...{ id, score, text },
      document_id: typeof document_id === 'string' ? document_id : null,
      chunk: typeof chunk === 'number' ? chunk : null,
      ...(typeof title === 'string' && title !== '' ? { title } : {}),
      ...(typeof heading === 'string' && heading !== '' ? { heading } : {}),
    },
  ];
}
