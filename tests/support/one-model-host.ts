import type { FakeOllama } from './fake-ollama.ts';

/** What a host did that has room for one model in memory. */
export interface OneModelHost {
  /** The models that it ran, call by call. */
  runs: string[];
  /** When each of them began. */
  times: number[];
  /** How often it put another model in the place of the one before. */
  loads: number;
  /** Held up before it answers, until this resolves. */
  before: ((model: string) => Promise<void> | undefined) | undefined;
}

/** Makes a scripted host work through its calls one by one, with one model in memory at a time. */
export function holdOneModel(fake: FakeOllama, { loadMs, runMs }: { loadMs: number; runMs: number }): OneModelHost {
  const host: OneModelHost = { runs: [], times: [], loads: 0, before: undefined };
  fake.loaded = [];
  let last: Promise<unknown> = Promise.resolve();

  async function work(model: string): Promise<void> {
    if (fake.loaded?.[0] !== model) {
      // While it loads, neither is there.
      fake.loaded = [];
      await pause(loadMs);
      fake.loaded = [model];
      host.loads++;
    }
    host.runs.push(model);
    host.times.push(performance.now());
    await host.before?.(model);
    await pause(runMs);
  }

  fake.script = async ({ body }) => {
    last = last.then(() => work(String(body.model)));
    await last;
    return false;
  };
  return host;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
