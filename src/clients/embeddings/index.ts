import { TaskError } from '../../errors.ts';
import type { EmbedAnswer, Usage } from '../../tasks/tools.ts';
import type { Answered, ModelClient } from '../model-client.ts';
import { type Caller, createEmbedBatch } from './batches.ts';
import type { EmbeddingCache, Remembered } from './cache.ts';
import { shortFloat } from './floats.ts';
import { shareUsage, sumUsage } from './share.ts';

export { createEmbeddingCache, type EmbeddingCache, type EmbeddingStore, type StoredEmbedding } from './cache.ts';

interface Options {
  /** Where there is none, everything is computed. */
  cache?: EmbeddingCache;
  /** How many calls for embeddings of one model may be under way at once. */
  parallel?: number;
}

/** One text, as the host embedded it. */
interface Embedded extends Remembered {
  usage: Usage;
  served: Answered<unknown>['served'];
}

type Embed = ModelClient['embed'];
type Batch = ReturnType<typeof createEmbedBatch<Embedded>>;

/**
 * The same client, whose embeddings are remembered, and whose calls for embeddings go together in one call of the host where they
 * come together. Each caller still has its own choice of model, usage, errors and end.
 */
export function embedTogether(models: ModelClient, { cache, parallel = 1 }: Options): ModelClient {
  const batches = new Map<string, Batch>();

  /** @param rest what else was asked for, such as options of the model */
  function batchOf(model: string, rest: object): Batch {
    const key = JSON.stringify([model, rest]);
    let batch = batches.get(key);
    if (batch) batches.delete(key);
    else {
      batch = createEmbedBatch<Embedded>({ parallel, ask: (texts, call) => ask(model, rest, texts, call) });
      // Few of them are in use at a time; the oldest one has ended its work long ago.
      if (batches.size >= MAX_BATCHES) batches.delete(batches.keys().next().value as string);
    }
    // At the end, so that the first is the one that was not used for longest.
    batches.set(key, batch);
    return batch;
  }

  async function ask(model: string, rest: object, input: string[], call: Caller): Promise<Embedded[]> {
    // Another model must not stand in for one that has just gone: its vectors would be remembered as those of this one.
    const { answer, usage, served } = await models.embed({ ...rest, input, model, fallback: false }, call);
    if (answer.model !== model)
      throw new TaskError('model_unavailable', `The model ${model} is not there any more.`, { retryable: true });
    const shares = shareUsage(usage, input);
    return answer.embeddings.map((vector, index) => {
      const own = shares[index] as Usage;
      return { vector: vector.map(shortFloat), tokens: own.input_tokens, usage: own, served };
    });
  }

  async function embed(
    { input, model: requested, fallback, ...rest }: Parameters<Embed>[0],
    call: Parameters<Embed>[1],
  ): Promise<Answered<EmbedAnswer>> {
    const { signal, mayUse } = call;
    const choice = await models.models.select(requested, 'embedding', { signal, fallback, mayUse }).catch((error) => {
      signal.throwIfAborted();
      throw error;
    });
    const { model } = choice;
    const digest = models.models.digestOf(model);
    const name = digest && JSON.stringify([digest, rest]);
    const texts = [...new Set(input)];
    const known = cache && name ? await cache.find(name, texts) : [];
    const missing = texts.filter((_, index) => !known[index]);
    const computed = missing.length > 0 ? await batchOf(model, rest)(missing, call) : [];
    // As the host that answered calls it, which may have pulled another one meanwhile.
    const used = computed[0]?.served?.digest;
    if (cache && missing.length > 0 && used && used === digest) cache.keep(name as string, missing, computed);
    signal.throwIfAborted();

    const computedOf = new Map(missing.map((text, index) => [text, computed[index]]));
    const found = new Map(texts.map((text, index) => [text, known[index] ?? computedOf.get(text)]));
    const all = input.map((text) => found.get(text) as Remembered);
    const tokens = all.reduce((sum, one) => sum + one.tokens, 0);
    return {
      answer: { embeddings: all.map(({ vector }) => vector), dimensions: all[0]?.vector.length ?? 0, ...choice },
      // Of what is remembered the tokens count as they did: who embedded it before is nobody's business.
      usage: { ...sumUsage(computed.map(({ usage }) => usage)), input_tokens: tokens },
      served: computed[0]?.served ?? { digest },
    };
  }

  return { ...models, embed };
}

const MAX_BATCHES = 64;
