import * as v from 'valibot';
import { checkAgent } from '../../agents/check.ts';
import { baseOf } from '../../agents/endpoint.ts';
import { AGENT_CONFIGS, type AgentConfig } from '../../agents/types.ts';
import { type AgentRow, findAgent, findAgentFor } from '../../db/agents.ts';
import type { Db } from '../../db/connect.ts';
import { isId } from '../../db/ids.ts';
import { ProblemError } from '../../errors.ts';
import type { Principal } from '../route.ts';
import type { agent as shape } from '../shapes/agent.ts';
import { fieldErrors, invalid } from '../validate.ts';

export const noSuchAgent = () => new ProblemError('not_found', 'There is no such agent.');

/** The agent that the path names by its id or its name, as far as the principal may see it. @throws ProblemError `not_found` */
export async function readAgent(db: Db, principal: Principal, nameOrId = ''): Promise<AgentRow> {
  if (nameOrId.includes('\u0000')) throw noSuchAgent();
  const found =
    (await findAgentFor(db, principal.userId, nameOrId)) ??
    (isId(nameOrId) && principal.can('agents:read:any') ? await findAgent(db, nameOrId) : undefined);
  if (!found) throw noSuchAgent();
  return found;
}

/** Whether somebody may change all of an agent: their own, and with the permission those of everybody. */
export function mayChange(principal: Principal, { user_id }: Pick<AgentRow, 'user_id'>): boolean {
  return user_id === null ? principal.can('agents:write:any') : user_id === principal.userId;
}

/**
 * The agent that the path names, to be steered: one that may be changed, or with the permission anybody's.
 * @throws ProblemError `not_found` for one that may not even be seen, `forbidden` for one that may only be used
 */
export async function readAgentToSteer(db: Db, principal: Principal, nameOrId?: string): Promise<AgentRow> {
  const row = await readAgent(db, principal, nameOrId);
  if (mayChange(principal, row) || principal.can('agents:write:any')) return row;
  throw new ProblemError('forbidden', 'Agents of everybody are changed with the permission agents:write:any.');
}

/** Where an agent is, and how it is spoken to, is the business of those who may change it. */
export function presentAgent(row: AgentRow, principal: Principal): v.InferOutput<typeof shape> {
  const { id, user_id, name, type, description, endpoint, port, is_active, capabilities } = row;
  const { config, secret_names, created_at, updated_at } = row;
  const inside =
    mayChange(principal, row) || principal.can('agents:read:any')
      ? { endpoint, port, config, secret_names }
      : { endpoint: null, port: null, config: null, secret_names: null };
  return { id, user_id, name, type, description, is_active, capabilities, ...inside, created_at, updated_at };
}

/** What an agent would be after a request. @throws ProblemError `validation_failed` where it would not be one */
export function refuseWrongAgent(
  { type, endpoint, port, config }: Pick<AgentRow, 'type' | 'endpoint' | 'port' | 'config'>,
  secretNames: readonly string[],
  checkUrl: (url: string) => string | undefined,
): void {
  const schema: v.GenericSchema<unknown, AgentConfig> = AGENT_CONFIGS[type];
  const parsed = v.safeParse(schema, config);
  if (!parsed.success) throw invalid(fieldErrors(parsed.issues, '#/config'));
  const errors = checkAgent({ type, endpoint, port, config: parsed.output, secretNames }, checkUrl);
  if (errors.length > 0) throw invalid(errors);
}

/**
 * Secrets were given for a host. Whoever may point an agent at another one, but does not know them, must not get them sent there.
 * @param given the names of those that the request brings
 */
export function refuseToMoveSecrets(
  before: AgentRow,
  after: Pick<AgentRow, 'endpoint' | 'port'>,
  given: string[],
): void {
  if (originOf(before) === originOf(after)) return;
  const kept = before.secret_names.filter((name) => !given.includes(name));
  if (kept.length === 0) return;
  throw invalid(
    kept.map((name) => ({
      pointer: `#/secrets/${name}`,
      detail: 'is missing: the endpoint is another host now, so give the secret again, or null to forget it',
    })),
  );
}

function originOf({ endpoint, port }: Pick<AgentRow, 'endpoint' | 'port'>): string {
  return endpoint === null ? '' : new URL(baseOf(endpoint, port)).origin;
}
