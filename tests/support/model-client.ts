import { afterEach, beforeEach } from 'vitest';
import { createModelClient, type ModelClient } from '../../src/clients/ollama.ts';
import { createLog } from '../../src/log.ts';
import { type FakeOllama, startFakeOllama } from './fake-ollama.ts';

/** The scripted host of the test that runs. */
export let ollama: FakeOllama;
/** A client of it, or the one that {@link use} made. */
export let client: ModelClient;

/** From now on the client has these options; by itself it asks `ollama`, may use any model and pulls none. */
export function use(options: Partial<Parameters<typeof createModelClient>[0]> = {}): void {
  client = createModelClient({
    hosts: [ollama.url],
    allowed: [],
    autoPull: false,
    log: createLog('silent'),
    ...options,
  });
}

/** Another host comes up at the port of one that was closed. */
export async function comeBack(port: number): Promise<void> {
  ollama = await startFakeOllama(port);
}

/** Gives each test of a file a host and a client of its own. */
export function withModelClient(): void {
  beforeEach(async () => {
    ollama = await startFakeOllama();
    use();
  });
  afterEach(async () => {
    await client.close();
    await ollama.close();
  });
}
