import * as v from 'valibot';
import type { AgentRow } from '../db/agents.ts';
import type { AgentType } from '../db/schema.ts';
import { TaskError } from '../errors.ts';
import type { SecretBox } from '../secretbox.ts';
import { baseOf } from './endpoint.ts';
import { openSecrets, type Secrets } from './secrets.ts';
import { AGENT_CONFIGS, type AgentConfig } from './types.ts';

/** An agent as it is called: its configuration is whole, and its secrets are open. */
export interface AgentOf<T extends AgentType> {
  id: string;
  name: string;
  type: T;
  /** Where it is, without a slash at the end; empty for a model of our own hosts. */
  base: string;
  config: AgentConfig<T>;
  secrets: Secrets;
}
export type Agent = { [T in AgentType]: AgentOf<T> }[AgentType];

/** Makes one of its row. @throws TaskError where it was stored by a version that took something else */
export function agentOf(row: AgentRow, box: SecretBox): Agent {
  const { id, name, type, endpoint, port } = row;
  const schema: v.GenericSchema<unknown, AgentConfig> | undefined = AGENT_CONFIGS[type];
  const parsed = schema && v.safeParse(schema, row.config);
  if (!parsed?.success)
    throw new TaskError('invalid_input', `The configuration of the agent ${name} is not valid any more; change it.`);
  const base = endpoint ? baseOf(endpoint, port) : '';
  return { id, name, type, base, config: parsed.output, secrets: openSecrets(box, row) } as Agent;
}
