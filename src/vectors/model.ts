import { packFloats, unpackFloats } from '../clients/embeddings/floats.ts';
import { adoptModel, type CollectionRow } from '../db/collections.ts';
import type { Db } from '../db/connect.ts';
import { TaskError } from '../errors.ts';
import type { Tools } from '../tasks/tools.ts';
import { modelGone, noSuchCollection } from './collection.ts';

type Embed = Tools['models']['embed'];

/** What is embedded to see whether two models under one name make the same vectors. */
const PROBE = 'The harbour master counts nine grey boats, and writes the number down at noon.';
/** As alike are the vectors of the same weights, whatever computes them; other weights make others. */
const SAME = 0.999;

/**
 * Holds a collection to the model that made its first vectors. The name of a model may come to stand for another one, whose vectors
 * cannot be compared with those that are there. Its digest tells; where that is another one, it is asked for a vector that is
 * known, since a digest changes with a template or a licence too.
 * @param digest that of the model which embedded just now; of a host that tells none nothing is known
 * @param writes whether its vectors are about to be stored: the first ones decide
 * @returns the collection as it is then
 * @throws TaskError `model_changed`
 */
export async function holdToModel(
  db: Db,
  embed: Embed,
  collection: CollectionRow,
  { digest, writes }: { digest: string | undefined; writes: boolean },
): Promise<CollectionRow> {
  const { id, name, embedding_model: model, model_digest, model_probe } = collection;
  if (model === null || digest === undefined || digest === model_digest) return collection;
  if (model_digest === null && !writes) return collection;
  const asked = await embed({ input: [PROBE], model, fallback: false });
  // It is being replaced at this very moment.
  if (asked.digest !== digest) throw modelGone(name, model);
  const probe = asked.embeddings[0] as number[];
  if (model_digest !== null && !(model_probe && likeness(unpackFloats(model_probe), probe) >= SAME))
    throw changed({ name, model }, model_digest, digest);
  const adopted = await adoptModel(db, id, { was: model_digest, is: digest, probe: packFloats(probe) });
  if (!adopted) throw noSuchCollection(name);
  return holdToModel(db, embed, adopted, { digest, writes });
}

/** The same function, which holds the collection to each model that answers. */
export function embedInto(db: Db, embed: Embed, collection: CollectionRow): Embed {
  let held = collection;
  return async (request) => {
    const answer = await embed(request);
    held = await holdToModel(db, embed, held, { digest: answer.digest, writes: true });
    return answer;
  };
}

function likeness(a: number[], b: number[]): number {
  const dot = a.reduce((sum, value, n) => sum + value * (b[n] ?? 0), 0);
  return a.length === b.length ? dot / (Math.hypot(...a) * Math.hypot(...b)) : 0;
}

function changed({ name, model }: { name: string; model: string }, was: string, is: string): TaskError {
  return new TaskError(
    'model_changed',
    `The collection ${name} was embedded with ${model} of the digest ${short(was)}. The hosts now have another model of that name, ${short(is)}, whose vectors cannot be compared with those. Bring the old one back, or make a new collection and ingest again; the search mode text works as before.`,
  );
}

const short = (digest: string) => digest.replace(/^sha256:/, '').slice(0, 12);
