import { startChild } from './child.ts';

/** A model host that answers by a script, in a process of its own. */
export interface Model {
  url: string;
  pid: number;
  /** How many texts it has answered so far, as of a hundredth of a second ago. */
  answered(): number;
  /** Hears whenever that changes. */
  onAnswers(listener: () => void): void;
  /** How long a text takes. */
  setDelay(ms: number): Promise<void>;
  /** While it is shut, calls wait and nobody is answered. */
  shut(on: boolean): Promise<void>;
  close(): Promise<void>;
}

/** What the process is told. */
export type Order = { delayMs: number } | { shut: boolean };
/** What it says. */
export type Word = { url: string } | { answered: number } | { done: true };

/** Starts it. */
export async function startModel(folder: string): Promise<Model> {
  const child = startChild(folder, 'model', 'tests/load/rig/model-main.ts');
  const { url } = await child.message<{ url: string }>('url');
  let answered = 0;
  const listeners = new Set<() => void>();
  child.process.on('message', (word: Word) => {
    if (!('answered' in word)) return;
    answered = word.answered;
    for (const listener of listeners) listener();
  });
  async function order(what: Order): Promise<void> {
    // Listened for all the time: two messages may come together.
    const done = new Promise<void>((resolve) => {
      const hear = (word: Word) => {
        if (!('done' in word)) return;
        child.process.off('message', hear);
        resolve();
      };
      child.process.on('message', hear);
    });
    child.process.send(what);
    await done;
  }
  return {
    url,
    pid: child.pid,
    answered: () => answered,
    onAnswers: (listener) => void listeners.add(listener),
    setDelay: (delayMs) => order({ delayMs }),
    shut: (shut) => order({ shut }),
    close: child.stop,
  };
}
