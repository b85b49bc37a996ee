import { type FakeOllama, startFakeOllama } from './fake-ollama.ts';
import { type Client, createWorld, type World } from './world.ts';

/** A world whose models are on two scripted hosts, the first of which is `world.ollama`, and somebody who may change them. */
export interface TwoHosts {
  world: World;
  second: FakeOllama;
  operator: Client;
  /** Both have one model for chats and one for embeddings again, and do what they always do. */
  reset(): void;
  close(): Promise<void>;
}

/** Starts it. @param env settings that differ from the usual ones of tests */
export async function createTwoHosts(env: Record<string, string> = {}): Promise<TwoHosts> {
  const [first, second] = [await startFakeOllama(), await startFakeOllama()];
  const world = await createWorld({
    env: { OLLAMA_DEFAULT_MODEL: 'tinyllama', OLLAMA_HOST: `${first.url},${second.url}`, ...env },
  });
  await world.ollama.close();
  world.ollama = first;
  return {
    world,
    second,
    operator: await world.client('operator'),
    reset() {
      for (const host of [first, second]) {
        host.script = undefined;
        host.models = [
          { name: 'tinyllama:latest', capabilities: ['completion'] },
          { name: 'all-minilm:latest', capabilities: ['embedding'] },
        ];
      }
    },
    async close() {
      await world.close();
      await second.close();
    },
  };
}
