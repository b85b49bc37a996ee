/** What was found out about credentials, until they expire or one of the ids behind them is gone. */
export interface Remembered<T> {
  get(credential: string): T | undefined;
  /** To be asked before a credential is looked up, and handed to `set`. */
  moment(): number;
  /**
   * Remembers it until `until` (milliseconds since 1970), unless something was forgotten since `moment`: what was read
   * before that may be what has just changed.
   */
  set(credential: string, value: T, about: { ids: string[]; until: number; moment: number }): void;
  /** Forgets every credential that hangs on this id. */
  forget(id: string): void;
  forgetAll(): void;
}

interface Entry<T> {
  value: T;
  ids: string[];
  until: number;
}

/** Makes it, with room for `max` credentials; the oldest goes first. */
export function createRemembered<T>(max = 10_000): Remembered<T> {
  const entries = new Map<string, Entry<T>>();
  const credentialsOf = new Map<string, Set<string>>();
  let moment = 0;

  function drop(credential: string): void {
    const entry = entries.get(credential);
    if (!entry) return;
    entries.delete(credential);
    for (const id of entry.ids) {
      const credentials = credentialsOf.get(id);
      credentials?.delete(credential);
      if (credentials?.size === 0) credentialsOf.delete(id);
    }
  }

  return {
    get(credential) {
      const entry = entries.get(credential);
      if (!entry) return undefined;
      if (entry.until > Date.now()) return entry.value;
      drop(credential);
      return undefined;
    },
    moment: () => moment,
    set(credential, value, { ids, until, moment: read }) {
      if (read !== moment) return;
      drop(credential);
      // A Map keeps the order of insertion.
      if (entries.size >= max) drop(entries.keys().next().value as string);
      entries.set(credential, { value, ids, until });
      for (const id of ids) {
        const credentials = credentialsOf.get(id) ?? new Set();
        credentialsOf.set(id, credentials.add(credential));
      }
    },
    forget(id) {
      moment++;
      for (const credential of [...(credentialsOf.get(id) ?? [])]) drop(credential);
    },
    forgetAll() {
      moment++;
      entries.clear();
      credentialsOf.clear();
    },
  };
}
