import { TaskError } from '../../errors.ts';
import { chooseHost, hostsWith, roomOf, type Wanted } from './choose.ts';
import type { Host } from './host.ts';
import type { CallEnding } from './slots.ts';

/** A call that waits for room. */
interface Waiting {
  wanted: Wanted;
  since: number;
}

interface Options {
  hosts: readonly Host[];
  /** Is called whenever a host is wanted. */
  use: () => void;
  /** Hears whenever there may be room. Answers what ends that. */
  onChange: (listener: () => void) => () => void;
  /** Tells that there may be room. */
  changed: () => void;
}

/** Gives the room of hosts to calls. */
export interface Line {
  /** Waits until a host has room for the call, and takes it. @throws `failed`, or why it is so, where none takes such calls */
  place(wanted: Wanted, signal: AbortSignal, failed: unknown): Promise<[Host, (ending: CallEnding) => void]>;
  /** The host that a call would get now. */
  look(wanted: Wanted): Host | 'full' | undefined;
  /** How many such calls could begin now where the model is in memory. */
  room(wanted: Wanted): number;
}

/**
 * For so long a call may be overtaken by those that find room at once. Where calls of one model follow each other closely, a host
 * that has room for one model never has any for another: after that time its room is kept for whoever waits.
 */
const OVERTAKEN_MS = 5_000;

/** Makes it; nobody waits yet. */
export function createLine({ hosts, use, onChange, changed }: Options): Line {
  const waiting = new Set<Waiting>();

  const waitsLong = ({ since }: Waiting) => performance.now() - since > OVERTAKEN_MS;

  /** The hosts that are kept for those who came before, and have waited for long. */
  function keptFrom(one?: Waiting): Set<Host> {
    const kept = new Set<Host>();
    for (const other of waiting) {
      if (other === one) break;
      if (waitsLong(other)) for (const host of hostsWith(hosts, other.wanted)) kept.add(host);
    }
    return kept;
  }

  function nextChange(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = () => {
        stop();
        signal.removeEventListener('abort', aborts);
      };
      const stop = onChange(() => {
        end();
        resolve();
      });
      const aborts = () => {
        end();
        reject(signal.reason);
      };
      signal.addEventListener('abort', aborts, { once: true });
    });
  }

  /** Why no host takes the call. */
  function nobody({ model, by, digest, tried }: Wanted): TaskError {
    const away = hostsWith(hosts, { model, digest, tried }).flatMap(
      ({ guard }) => guard.closedFor(model, by)?.turnedAway() ?? [],
    );
    const [first] = away.toSorted((a, b) => (a.retryAfterMs ?? 0) - (b.retryAfterMs ?? 0));
    const gone = `The model ${model} is not there any more.`;
    return first ?? new TaskError('model_unavailable', gone, { retryable: true });
  }

  return {
    look: (wanted) => chooseHost(hosts, wanted, keptFrom()),
    room: (wanted) => roomOf(hosts, wanted, keptFrom()),
    async place(wanted, signal, failed) {
      const own: Waiting = { wanted, since: performance.now() };
      waiting.add(own);
      try {
        for (;;) {
          signal.throwIfAborted();
          const found = chooseHost(hosts, wanted, keptFrom(own));
          if (found === undefined) throw failed ?? nobody(wanted);
          if (found !== 'full') return [found, found.slots.begin(wanted.model)];
          use();
          await nextChange(signal);
        }
      } finally {
        waiting.delete(own);
        if (waitsLong(own)) changed();
      }
    },
  };
}
