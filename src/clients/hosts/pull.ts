import { TaskError } from '../../errors.ts';
import { UpstreamRefusal, upstreamError } from '../upstream.ts';
import type { Host } from './host.ts';

/** How far a pull is, in bytes of all that is known to be pulled, by all hosts together. */
export interface PullProgress {
  completed: number;
  total: number;
}

/** A model that a host has now. */
export interface Pulled {
  host: string;
  digest: string;
  size: number;
}

interface Pull {
  model: string;
  signal: AbortSignal | undefined;
  onProgress?: (progress: PullProgress) => void;
}

/**
 * Pulls a model to each of these hosts at once. One that is there already costs a look; the same pull from somebody else is
 * joined by Ollama itself. What fails on one host does not stop the others.
 * @throws TaskError `model_unavailable` where a host could not get it, or the reason of the signal when that aborts
 */
export async function pullModel(hosts: readonly Host[], { model, signal, onProgress }: Pull): Promise<Pulled[]> {
  const layers = new Map<string, PullProgress>();
  const tell = () => {
    const all = [...layers.values()];
    const sum = (key: keyof PullProgress) => all.reduce((bytes, layer) => bytes + layer[key], 0);
    onProgress?.({ completed: sum('completed'), total: sum('total') });
  };
  const results = await Promise.allSettled(
    hosts.map((host) =>
      pullTo(host, model, signal, (digest, { completed, total }) => {
        const key = `${host.label} ${digest}`;
        // A download that begins again is not told backwards.
        layers.set(key, { completed: Math.max(completed, layers.get(key)?.completed ?? 0), total });
        tell();
      }),
    ),
  );
  signal?.throwIfAborted();
  const failed = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  // One that another attempt cannot mend is the one to tell of.
  const [worst] = failed.toSorted((a, b) => Number(isLater(a)) - Number(isLater(b)));
  if (worst !== undefined) throw worst;
  return results.map((result) => (result as PromiseFulfilledResult<Pulled>).value);
}

async function pullTo(
  host: Host,
  model: string,
  signal: AbortSignal | undefined,
  onLayer: (digest: string, progress: PullProgress) => void,
): Promise<Pulled> {
  await host.guard.breaker.run(() => download(host, model, signal, onLayer));
  await host.refresh(performance.now());
  const found = host.find(model);
  if (found) return { host: host.label, digest: found.digest, size: found.size };
  throw unavailable(host, model, 'it was pulled, and is not there');
}

async function download(
  host: Host,
  model: string,
  signal: AbortSignal | undefined,
  onLayer: (digest: string, progress: PullProgress) => void,
): Promise<void> {
  try {
    const steps = await host.client(signal, 'pull').pull({ model, stream: true });
    for await (const { digest, total, completed } of steps) {
      signal?.throwIfAborted();
      // What is zero is left out.
      if (digest && isBytes(total)) onLayer(digest, { total, completed: isBytes(completed) ? completed : 0 });
    }
  } catch (error) {
    signal?.throwIfAborted();
    // An error under status 200 is what the registry, the disk or the name gave rise to.
    if (error instanceof UpstreamRefusal && error.status === undefined) throw unavailable(host, model, error.message);
    throw upstreamError('Ollama', error);
  }
}

function isBytes(given: unknown): given is number {
  return typeof given === 'number' && Number.isFinite(given) && given >= 0;
}

function isLater(error: unknown): boolean {
  return error instanceof TaskError && error.later;
}

function unavailable({ label }: Host, model: string, said: string): TaskError {
  return new TaskError(
    'model_unavailable',
    `The model ${model} could not be pulled to ${label}: ${said.slice(0, 1_000)}`,
    {
      retryable: true,
    },
  );
}
