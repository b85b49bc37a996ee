/**
 * Softens how much the first places count. The paper of reciprocal rank fusion (Cormack and others, 2009) uses 60, for rankings of
 * thousands; here they have a few dozen places, and what one of them has at its top is worth more: `npm run eval`.
 */
const K = 10;

/** What several rankings together make of one thing. */
export interface Fused<Key, Name extends string> {
  key: Key;
  score: number;
  /** Its place in each ranking, from 1; `null` in those that do not have it. */
  ranks: Record<Name, number | null>;
}

/**
 * Merges rankings by reciprocal rank, the best first: what several have near their top comes before what one has at its top.
 * @param weights how much each ranking counts
 */
export function fuse<Key extends string, Name extends string>(
  rankings: Record<Name, readonly Key[]>,
  weights: Record<Name, number>,
): Array<Fused<Key, Name>> {
  const names = Object.keys(rankings) as Name[];
  const fused = new Map<Key, Fused<Key, Name>>();
  for (const name of names) {
    for (const [index, key] of rankings[name].entries()) {
      const nowhere = Object.fromEntries(names.map((one) => [one, null])) as Record<Name, number | null>;
      const entry = fused.get(key) ?? { key, score: 0, ranks: nowhere };
      if (entry.ranks[name] !== null) continue;
      entry.ranks[name] = index + 1;
      entry.score += weights[name] / (K + index + 1);
      fused.set(key, entry);
    }
  }
  // The sort is stable, so of equal ones that of the first ranking comes first.
  return [...fused.values()].sort((a, b) => b.score - a.score);
}
