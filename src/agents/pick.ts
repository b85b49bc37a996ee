import { type Candidate, listCandidates } from '../db/agent-candidates.ts';
import type { Db } from '../db/connect.ts';

export type { Candidate } from '../db/agent-candidates.ts';

/**
 * The agents that have a capability and may be used, the best first: healthy ones, of these the least busy, of these the
 * quickest. Those that are down are only there when no other one is. Empty where nobody has the capability.
 * @param userId `null` for those of everybody alone
 */
export async function pickAgents(
  db: Db,
  { userId, capability }: { userId: string | null; capability: string },
): Promise<Candidate[]> {
  const candidates = await listCandidates(db, userId, capability);
  const up = candidates.filter(({ state }) => state !== 'down');
  return up.length > 0 ? up : candidates;
}
