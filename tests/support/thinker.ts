import { afterAll, afterEach, beforeAll } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import type { Message } from '../../src/tasks/tools.ts';
import { addAgent } from './add-agent.ts';
import { storeDocument } from './library.ts';
import { type ScriptedHttp, startScriptedHttp } from './scripted-http.ts';
import { replying, type Said } from './tool-model.ts';
import { type Client, createWorld, type World } from './world.ts';

type Answered = PresentedTask & { output: { output: Record<string, unknown>; usage: unknown } };

/** A world for the tests of one file in which agents with tools are asked: a host to read from, and a user with a document. */
export interface Thinkers {
  world: World;
  host: ScriptedHttp;
  alice: Client;
  /** Asks an agent of its own, whose model says the replies in their order; answers the task once it has ended. */
  run(
    client: Client,
    config: Record<string, unknown>,
    given: { replies: Said[]; input?: unknown; shared?: boolean } & Record<string, unknown>,
  ): Promise<Answered>;
  /** The name of the agent that was made last. */
  lastName(): string;
  /** The calls of the model. */
  chats(): World['ollama']['calls'];
  messagesOf(n: number): Message[];
  /** What the model was told of the tools that it used, up to its n-th call. */
  told(n: number): string[];
}

/** Makes it before the tests of the file and closes it after them; what is scripted is forgotten after each. */
export function thinkers(): Thinkers {
  const it = {} as Thinkers;
  let made = 0;
  beforeAll(async () => {
    it.world = await createWorld();
    it.host = await startScriptedHttp();
    it.alice = await it.world.client();
    const chunks = [{ text: 'Tea is in the cupboard.' }];
    await storeDocument(it.world, it.alice, { collection: 'house', title: 'The house', chunks });
  });
  afterAll(async () => {
    await it.world.close();
    await it.host.close();
  });
  afterEach(() => {
    it.world.ollama.script = undefined;
    it.world.ollama.calls.length = 0;
    it.host.script();
  });
  it.chats = () => it.world.ollama.calls.filter(({ path }) => path === '/api/chat');
  it.messagesOf = (n) => (it.chats()[n]?.body.messages ?? []) as Message[];
  it.told = (n) =>
    it
      .messagesOf(n)
      .filter(({ role }) => role === 'tool')
      .map(({ content }) => content);
  it.lastName = () => `thinker-${made}`;
  it.run = async (client, config, { replies, input = 'Where is the tea?', shared = false, ...more }) => {
    it.world.ollama.script = replying(replies);
    const name = `thinker-${++made}`;
    await addAgent(it.world, { name, type: 'ollama', config, ...(shared ? {} : { userId: client.userId }) });
    return (await client.runTask('agent.run', { agent: name, input }, { max_attempts: 1, ...more })) as Answered;
  };
  return it;
}
