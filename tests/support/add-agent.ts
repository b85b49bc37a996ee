import { sealSecrets } from '../../src/agents/secrets.ts';
import { newId } from '../../src/db/ids.ts';
import type { AgentType } from '../../src/db/schema.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import type { World } from './world.ts';

export interface GivenAgent {
  name: string;
  type?: AgentType;
  /** Whose it is; everybody's where it is not given. */
  userId?: string;
  endpoint?: string;
  config?: Record<string, unknown>;
  capabilities?: string[];
  secrets?: Record<string, string>;
  active?: boolean;
  /** Whether it is asked how it is; those that are not hear of nothing but what a test does. */
  probed?: boolean;
}

/** Stores an agent as the API does; answers its id. */
export async function addAgent(world: World, given: GivenAgent): Promise<string> {
  const { name, type = 'http', userId, endpoint, config = {}, capabilities = [], secrets = {}, active = true } = given;
  const { probed = false } = given;
  const id = newId();
  await world.db
    .insertInto('agents')
    .values({
      ...{ id, name, type, user_id: userId ?? null, endpoint: endpoint ?? null, is_active: active },
      ...{ capabilities: JSON.stringify(capabilities), config: JSON.stringify(config) },
      ...(probed ? {} : { next_probe_at: new Date(Date.now() + 86_400_000) }),
      ...sealSecrets(createSecretBox(world.env.ENCRYPTION_KEY as string), secrets),
    })
    .execute();
  return id;
}
