import type { CollectionRow } from '../../db/collections.ts';
import type { ChunkRow, DocumentRow } from '../../db/documents.ts';
import { embeddedText } from '../../documents/chunk.ts';
import { piecesOf } from '../../documents/pieces.ts';
import { TaskError } from '../../errors.ts';
import type { Tools } from '../../tasks/tools.ts';
import { chunkId } from '../../vectors/chunks.ts';
import { modelGone } from '../../vectors/collection.ts';
import type { NewPoint } from '../../vectors/points.ts';

type Embed = Tools['models']['embed'];

/** A text that is shorter than this is not the reason why a model has no room for it. */
const SHORTEST = 32;

/** How much the whole chunk counts in the vector of a piece of it: chosen by `npm run eval`. */
const WHOLE = 2;

/**
 * Makes the points of chunks: the same chunk of the same document has the same points, however often they are made. A longer one has a
 * point for each of its pieces, between its own vector and that of the piece: a question is near to a sentence, and the sentence to
 * what stands around it.
 */
export async function embedChunks(
  embed: Embed,
  { name, embedding_model }: CollectionRow,
  document: Omit<DocumentRow, 'identity'>,
  chunks: ChunkRow[],
): Promise<NewPoint[]> {
  const model = embedding_model ?? '';
  const cut = chunks.map((chunk) => ({ chunk, pieces: piecesOf(chunk.text) }));
  const texts = cut.flatMap(({ chunk: { heading, text }, pieces }) =>
    (pieces.length > 1 ? [text, ...pieces] : [text]).map((part) => embeddedText({ heading, text: part })),
  );
  const vectors = await embedTexts(async (input) => {
    const answer = await embed({ input, model, fallback: false });
    if (answer.model !== model) throw modelGone(name, model);
    return answer.embeddings;
  }, texts);
  const { title, source } = document;
  const named = { ...(title === null ? {} : { title }), ...(source === null ? {} : { source }) };
  let next = 0;
  return cut.flatMap(({ chunk: { chunk, heading, text }, pieces }) => {
    const whole = vectors[next++] as number[];
    const point = { id: chunkId(document.id, chunk), document: document.id };
    const payload = { ...document.metadata, ...named, document_id: document.id, chunk, heading };
    if (pieces.length === 1) return [{ ...point, text, vector: whole, payload }];
    return pieces.map((_, piece) => ({
      ...point,
      ...(piece === 0 ? { text } : { piece }),
      vector: meanOf(whole, WHOLE, vectors[next++] as number[], 1),
      payload,
    }));
  });
}

/**
 * Embeds texts in one call. Where the model has no room for one of them, which only the model can tell, that one is embedded in
 * halves, and its vector is the mean of theirs by length: chunks keep their numbers whatever the model takes.
 */
export async function embedTexts(
  embed: (input: string[]) => Promise<number[][]>,
  texts: string[],
): Promise<number[][]> {
  try {
    return await embed(texts);
  } catch (error) {
    if (!(error instanceof TaskError) || error.code !== 'context_exceeded') throw error;
    const [only] = texts;
    if (only === undefined) return [];
    if (texts.length > 1) {
      const half = texts.length >> 1;
      return [...(await embedTexts(embed, texts.slice(0, half))), ...(await embedTexts(embed, texts.slice(half)))];
    }
    if (only.length < SHORTEST) throw error;
    const space = only.indexOf(' ', only.length >> 1);
    const at = space > 0 && space < only.length * 0.9 ? space : only.length >> 1;
    const halves = [only.slice(0, at).toWellFormed(), only.slice(at).toWellFormed()];
    const [a = [], b = []] = [
      await embedTexts(embed, halves.slice(0, 1)),
      await embedTexts(embed, halves.slice(1)),
    ].flat();
    return [meanOf(a, at, b, only.length - at)];
  }
}

/** The direction between two vectors, of length 1, as models give them. */
function meanOf(a: number[], weightA: number, b: number[], weightB: number): number[] {
  const sum = a.map((value, n) => value * weightA + (b[n] ?? 0) * weightB);
  const length = Math.hypot(...sum) || 1;
  return sum.map((value) => value / length);
}
