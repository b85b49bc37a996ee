import { UpstreamRefusal } from '../upstream.ts';
import type { Host } from './host.ts';

/** What a host made of being told to delete a model. */
export interface Removal {
  host: string;
  /** `deleted` also where it was gone already; `refused` with what the host said; `away` where it did not answer. */
  outcome: 'deleted' | 'refused' | 'away';
  said?: string;
}

const PATIENCE_MS = 30_000;

/** Deletes a model from each of these hosts. */
export async function removeModel(hosts: readonly Host[], model: string): Promise<Removal[]> {
  return Promise.all(
    hosts.map(async (host): Promise<Removal> => {
      try {
        await host.client(AbortSignal.timeout(PATIENCE_MS)).delete({ model });
      } catch (error) {
        const status = error instanceof UpstreamRefusal ? error.status : undefined;
        if (status === undefined || status >= 500) return { host: host.label, outcome: 'away' };
        if (status !== 404)
          return { host: host.label, outcome: 'refused', said: (error as Error).message.slice(0, 500) };
      }
      await host.refresh(performance.now()).catch(() => {});
      return { host: host.label, outcome: 'deleted' };
    }),
  );
}
