import type { Callers } from './guard.ts';
import type { Host } from './host.ts';

/**
 * What a call of a model would meet now: `loaded` a host that has it in memory and has room, `load` one that would load it
 * first (also where nobody knows), `full` none that has room.
 */
export type Outlook = 'loaded' | 'load' | 'full';

/** A call to be placed. */
export interface Wanted {
  model: string;
  /** Only hosts whose model has this digest will do. */
  digest?: string;
  by?: Callers;
  /** Hosts that it was at already. */
  tried: ReadonlySet<Host>;
}

/** The hosts that have what is wanted. */
export function hostsWith(hosts: readonly Host[], { model, digest, tried }: Wanted): Host[] {
  return hosts.filter((host) => {
    const found = host.find(model);
    return found && (digest === undefined || found.digest === digest) && !tried.has(host);
  });
}

/**
 * The host for a call: of those with room one that has the model loaded, of several the least busy one; `full` where none
 * has room, `undefined` where none takes such calls at all.
 * @param kept hosts whose next room is another call's
 */
export function chooseHost(
  hosts: readonly Host[],
  wanted: Wanted,
  kept: ReadonlySet<Host> = new Set(),
): Host | 'full' | undefined {
  const { model } = wanted;
  const open = openHosts(hosts, wanted);
  if (open.length === 0) return undefined;
  const free = open.filter((host) => host.slots.room(model) > 0 && !kept.has(host));
  const [best] = free.toSorted(
    (a, b) => rank(b, model) - rank(a, model) || share(a) - share(b) || a.slots.busy() - b.slots.busy(),
  );
  return best ?? 'full';
}

/** How many such calls could begin now where the model is in memory. */
export function roomOf(hosts: readonly Host[], wanted: Wanted, kept: ReadonlySet<Host>): number {
  const { model } = wanted;
  const ready = openHosts(hosts, wanted).filter((host) => host.isLoaded(model) && !kept.has(host));
  return ready.reduce((sum, { slots }) => sum + slots.room(model), 0);
}

const openHosts = (hosts: readonly Host[], wanted: Wanted) =>
  hostsWith(hosts, wanted).filter(({ guard }) => !guard.closedFor(wanted.model, wanted.by));

function rank(host: Host, model: string): number {
  // One that may be away still is asked when no other has room.
  return (host.isLoaded(model) ? 1 : 0) + (host.isUp() ? 2 : 0);
}

function share({ slots }: Host): number {
  return slots.busy() / slots.limit();
}
