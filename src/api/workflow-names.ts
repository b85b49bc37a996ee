import { findAgentNames } from '../db/agents.ts';
import type { Db } from '../db/connect.ts';
import { findUsernames } from '../db/users.ts';
import type { FieldError } from '../errors.ts';
import type { Definition, Step } from '../tasks/workflow-definition.ts';
import type { Principal } from './route.ts';

/** The type of steps that ask an agent. */
const AGENT_RUN = 'agent.run';

/**
 * Agents and approvers that the steps name, and who are not there. Of approvers only those hear who may see all accounts: to others it would
 * tell which user names there are.
 */
export async function unknownNames(
  { steps }: Definition,
  at: string,
  { db, userId, principal }: { db: Db; userId: string; principal?: Pick<Principal, 'can'> | undefined },
): Promise<FieldError[]> {
  const agents = steps.flatMap((step, index) => agentsOf(step, `${at}/steps/${index}`));
  const approvers = principal?.can('users:read')
    ? steps.flatMap(({ approvers = [] }, index) =>
        approvers.map((name, place) => ({ name, pointer: `${at}/steps/${index}/approvers/${place}` })),
      )
    : [];
  const known = {
    agents: agents.length > 0 ? await findAgentNames(db, userId, namesOf(agents)) : undefined,
    users: approvers.length > 0 ? await findUsernames(db, namesOf(approvers)) : undefined,
  };
  return [
    ...agents
      .filter(({ name }) => !known.agents?.has(name) && !known.agents?.has(name.toLowerCase()))
      .map(({ pointer }) => ({ pointer, detail: 'is not the name of an agent of yours or a shared one, nor its id' })),
    ...approvers
      .filter(({ name }) => !known.users?.has(name.toLowerCase()))
      .map(({ pointer }) => ({ pointer, detail: 'is not the name of a user' })),
  ];
}

interface Named {
  name: string;
  pointer: string;
}

const namesOf = (all: Named[]) => [...new Set(all.map(({ name }) => name))];

function agentsOf({ type, input, compensate }: Step, pointer: string): Named[] {
  const tasks = [
    { type, input, at: `${pointer}/input` },
    ...(compensate ? [{ ...compensate, at: `${pointer}/compensate/input` }] : []),
  ];
  return tasks.flatMap((task) => {
    const agent = task.type === AGENT_RUN ? (task.input as { agent?: unknown } | null)?.agent : undefined;
    return typeof agent === 'string' && !agent.includes('${{') ? [{ name: agent, pointer: `${task.at}/agent` }] : [];
  });
}
