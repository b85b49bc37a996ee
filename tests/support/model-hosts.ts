import { afterEach, beforeEach } from 'vitest';
import { createModelClient, type ModelCall, type ModelClient } from '../../src/clients/ollama.ts';
import { createLog } from '../../src/log.ts';
import { type FakeOllama, type Script, sendJson, startFakeOllama } from './fake-ollama.ts';

type Options = Partial<Parameters<typeof createModelClient>[0]>;

export const { signal } = new AbortController();

/** Two scripted hosts with nothing loaded, and a client of both, fresh for each test. */
export function useTwoHosts() {
  let [a, b]: FakeOllama[] = [];
  let client: ModelClient | undefined;
  const hosts = {
    get a() {
      return a as FakeOllama;
    },
    get b() {
      return b as FakeOllama;
    },
    get client() {
      return client as ModelClient;
    },
    /** Another client in the place of the present one. */
    async use(options: Options = {}): Promise<void> {
      await client?.close();
      const usual = { hosts: [hosts.a.url, hosts.b.url], allowed: [], autoPull: false, log: createLog('silent') };
      client = createModelClient({ ...usual, ...options });
    },
    generate: (model?: string, more: Partial<ModelCall> = {}) =>
      hosts.client.generate({ prompt: 'x', model }, { signal, ...more }),
  };
  beforeEach(async () => {
    [a, b] = await Promise.all([startFakeOllama(), startFakeOllama()]);
    hosts.a.loaded = [];
    hosts.b.loaded = [];
    await hosts.use();
  });
  afterEach(async () => {
    await client?.close();
    client = undefined;
    await Promise.all([a?.close(), b?.close()]);
  });
  return hosts;
}

export const FULL = 'server busy, please try again.  maximum pending requests exceeded';

/** Answers every call with this error. */
export function refuse(status: number, error = FULL): Script {
  return (_, response) => {
    sendJson(response, status, { error });
    return true;
  };
}

/** Holds calls until it is let go. */
export function gate(): { script: Script; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  return { script: () => promise, open: () => resolve(false) };
}
