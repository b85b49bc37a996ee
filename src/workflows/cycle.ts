/** Steps that wait for each other, in the order in which each needs the next; `undefined` where there are none. */
export function cycleOf(steps: ReadonlyArray<{ id: string; needs: readonly string[] }>): string[] | undefined {
  const waiting = new Map(steps.map(({ id, needs }) => [id, new Set(needs)]));
  const dependents = new Map<string, string[]>();
  for (const { id, needs } of steps)
    for (const need of needs) {
      const known = dependents.get(need);
      if (known) known.push(id);
      else dependents.set(need, [id]);
    }
  const free = steps.filter(({ needs }) => needs.length === 0).map(({ id }) => id);
  for (let id = free.pop(); id !== undefined; id = free.pop()) {
    waiting.delete(id);
    for (const dependent of dependents.get(id) ?? []) {
      const needs = waiting.get(dependent);
      needs?.delete(id);
      if (needs?.size === 0) free.push(dependent);
    }
  }
  // Whoever is left needs one that is left: so it goes round at last.
  const [start] = waiting.keys();
  if (start === undefined) return undefined;
  const way: string[] = [];
  const seen = new Map<string, number>();
  for (let id = start; ; id = [...(waiting.get(id) as Set<string>)].find((need) => waiting.has(need)) as string) {
    const before = seen.get(id);
    if (before !== undefined) return way.slice(before);
    seen.set(id, way.length);
    way.push(id);
  }
}
