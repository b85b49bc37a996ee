/** What is known of the models' hosts. */
export interface Hosts {
  /** What a call of a model would meet now: a host that has it in memory and has room, one that loads it first, or none with room. */
  outlook(model: string | undefined): 'loaded' | 'load' | 'full';
  /** How many more calls of it could begin now where it is in memory. */
  room(model: string | undefined): number;
  /** Whether calls of the two may come to the same host. */
  meet(one: string | undefined, other: string | undefined): boolean;
}

/** A waiting task, as far as its place depends on it. */
export interface InWindow {
  id: string;
  /** `undefined` where it takes the default. */
  model: string | undefined;
}

/** A task that was chosen and has not ended. */
export interface Chosen {
  model: string | undefined;
  at: number;
  /** Whether a host has begun with its call; before that, it takes room that no host knows of. */
  begun: boolean;
}

/** Chooses who is next, and remembers who was passed over. */
export interface WindowOrder<T extends InWindow> {
  /**
   * Who is to start now, of the first in line; `undefined` where it is better that nobody does.
   * @param line in the order of their turns
   * @param now by a clock that only goes on, in milliseconds
   */
  choose(line: readonly T[], hosts: Hosts, chosen: Iterable<Chosen>, now: number): T | undefined;
  /** Whether somebody was passed over who may wait still: then the line is to be read whole. */
  passesOver(): boolean;
}

/** What a task may do before it calls its model: so long nobody takes the room that it is to have. */
export const SOON_MS = 500;
/** So long it is kept free of those of other models, which would have to make room again. What takes longer may not call at all. */
const LATER_MS = 5_000;
type StateOf = (model: string | undefined) => ReturnType<Hosts['outlook']>;

/** Who was not seen for so many bounds is forgotten: it has started, or so many others came before it. */
const REMEMBERED = 10;

/** How long somebody has been passed over. */
interface Passed {
  /** Since when, as the first in line. */
  since: number | undefined;
  /** While those behind ran, in all. */
  ms: number;
  seenAt: number;
}

/** By model those who were chosen and have not come to their host; `soon` counts those who were chosen just now. */
function countComing(chosen: readonly Chosen[], now: number): Map<string | undefined, { soon: number }> {
  const coming = new Map<string | undefined, { soon: number }>();
  for (const { model, at, begun } of chosen) {
    if (begun || now - at >= LATER_MS) continue;
    const one = coming.get(model) ?? { soon: 0 };
    coming.set(model, one);
    if (now - at < SOON_MS) one.soon++;
  }
  return coming;
}

/**
 * The first in line, unless its model would have to be loaded: then the first whose model is there. Nobody is passed over for
 * longer than `boundMs` in all.
 *
 * A bound for each alone would not do: after it, all who wait would be due at once, model after model in the order of their
 * turns, and the host would load for each of them. So it is shared: of m models, each keeps the first in line waiting for
 * boundMs / (m − 1) at most. While a model has its time, those of it that stand before somebody run before those behind.
 * So a model passes somebody over in one of its times alone, because after that it has nobody before that one who could
 * be due, and the other models are m − 1. The sum is looked at all the same, for where models come and go.
 *
 * Whoever is due and finds no room, because other models have all of it, is kept a place: nobody else starts who might take it.
 */
export function createWindowOrder<T extends InWindow>(boundMs: number): WindowOrder<T> {
  const passed = new Map<string, Passed>();
  /** Who was passed over by the last choice, and when. */
  let last: { ids: string[]; at: number } = { ids: [], at: 0 };

  function account(line: readonly T[], now: number): void {
    for (const id of last.ids) {
      const one = passed.get(id);
      if (one) one.ms += now - last.at;
    }
    last = { ids: [], at: now };
    for (const { id } of line) {
      const one = passed.get(id);
      if (one) one.seenAt = now;
    }
    for (const [id, { seenAt }] of passed) if (now - seenAt > REMEMBERED * boundMs) passed.delete(id);
  }

  function pass(over: readonly T[], now: number): void {
    over.forEach(({ id }, index) => {
      const one = passed.get(id) ?? { since: undefined, ms: 0, seenAt: now };
      if (index === 0) one.since ??= now;
      passed.set(id, one);
    });
    last = { ids: over.map(({ id }) => id), at: now };
  }

  function find(line: readonly T[], stateOf: StateOf, hosts: Hosts, chosen: Chosen[], now: number): T | undefined {
    const share = boundMs / Math.max(1, new Set(line.map(({ model }) => model)).size - 1);
    const isDue = (one: T, index: number) => {
      const { since, ms } = passed.get(one.id) ?? { since: undefined, ms: 0 };
      if (ms >= boundMs) return true;
      if (since === undefined || now - since < share) return false;
      return !line.slice(0, index).some(({ model }) => hosts.meet(model, one.model));
    };
    const coming = countComing(chosen, now);
    /** Those who will take room that no host knows of take none from a model with room for all of them, but where they load another. */
    const isTaken = (model: string | undefined, state: ReturnType<StateOf>) => {
      const [own, others] = [coming.get(model)?.soon ?? 0, [...coming.keys()].filter((other) => other !== model)];
      if (others.some((other) => hosts.meet(other, model))) return true;
      return own > 0 && (state !== 'loaded' || hosts.room(model) <= own);
    };
    const kept: Array<string | undefined> = [];
    let first: T | undefined;
    for (const [index, one] of line.entries()) {
      const { model } = one;
      if (kept.some((other) => hosts.meet(other, model))) continue;
      const state = stateOf(model);
      const due = isDue(one, index);
      const taken = isTaken(model, state);
      // Else those who come to their host late would follow each other for ever.
      if (due && (taken || state === 'full')) kept.push(model);
      if (taken) continue;
      if (state === 'loaded') return one;
      if (state === 'load') first ??= one;
      if (first && due) return first;
    }
    return first;
  }

  return {
    passesOver: () => passed.size > 0,
    choose(all, hosts, given, now) {
      account(all, now);
      const chosen = [...given];
      const states = new Map<string | undefined, ReturnType<StateOf>>();
      for (const { model } of all) if (!states.has(model)) states.set(model, hosts.outlook(model));
      const stateOf: StateOf = (model) => states.get(model) ?? 'full';
      // Who waits for calls of its own model is not passed over by those of others.
      const line = all.filter(
        ({ model }) => stateOf(model) !== 'full' || !chosen.some((other) => other.begun && other.model === model),
      );
      const next = find(line, stateOf, hosts, chosen, now);
      if (next) passed.delete(next.id);
      const over = next ? line.slice(0, line.indexOf(next)) : [];
      pass(
        over.filter(({ model }) => hosts.meet(model, next?.model)),
        now,
      );
      return next;
    },
  };
}
