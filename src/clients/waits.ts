import { canonicalName } from './model-names.ts';

/** The calls of a host that wait for the first word of a model. */
export interface ModelWaits {
  /** A call begins; what it answers is to be called with the first word, and at the end. */
  begin(model: string, requested: boolean): () => void;
  /** The models that calls have waited for a while for, and that the host says it has not loaded; none where it does not say. */
  loading(): Promise<Array<{ model: string; requested: boolean }>>;
}

/** A loaded model has mostly said something by then. */
const SOON_MS = 1_000;

/** @param loaded the names of the models that the host has in memory; asked only while something waits */
export function createModelWaits(loaded: () => Promise<string[]>): ModelWaits {
  const waiting = new Set<{ model: string; requested: boolean; since: number }>();
  return {
    begin(model, requested) {
      const wait = { model: canonicalName(model), requested, since: performance.now() };
      waiting.add(wait);
      return () => void waiting.delete(wait);
    },
    async loading() {
      const long = [...waiting].filter(({ since }) => performance.now() - since > SOON_MS);
      if (long.length === 0) return [];
      // A host that does not say what it has loaded leaves it unknown.
      const there = await loaded().catch(() => undefined);
      if (!there) return [];
      const names = new Set(there.map(canonicalName));
      const missing = long.filter(({ model }) => !names.has(model));
      const known = missing.map(({ model, requested }) => ({ model, requested }));
      return [...new Map(known.map((one) => [`${one.model} ${one.requested}`, one])).values()];
    },
  };
}
