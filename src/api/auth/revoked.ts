/** The sessions that were revoked while access tokens of theirs may still be about. */
export interface RevokedSessions {
  add(sessionId: string): void;
  has(sessionId: string): boolean;
}

/** Makes the list. What is older than `seconds`, when all tokens of the session have expired, is forgotten. */
export function createRevokedSessions(seconds: number, now: () => number = Date.now): RevokedSessions {
  const since = new Map<string, number>();
  return {
    add(sessionId) {
      // A Map keeps the order of insertion, so the oldest come first.
      for (const [id, at] of since) {
        if (at > now() - seconds * 1000) break;
        since.delete(id);
      }
      since.delete(sessionId);
      since.set(sessionId, now());
    },
    has: (sessionId) => since.has(sessionId),
  };
}
