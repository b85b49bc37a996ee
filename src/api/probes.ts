import { isWritable } from '../db/away.ts';
import type { Parts } from '../parts.ts';
import type { LaneCounts } from '../queues/dispatcher.ts';
import type { Probe } from './routes/health.ts';

/** How each dependency is asked for `/readyz`. Only the database is needed to accept and store tasks. */
export function createProbes({ db, backend, dispatcher, models, vectors, kinds }: Parts): Probe[] {
  const probes: Probe[] = [
    {
      name: 'database',
      kind: kinds.database,
      required: true,
      check: async () => {
        if (!(await isWritable(db))) throw new Error('the database takes no writes');
        return {};
      },
    },
    {
      name: 'queues',
      kind: `BullMQ on ${backend.kind === 'redis' ? 'Redis' : kinds.database}`,
      required: false,
      check: async () => totals(Object.values(await dispatcher.counts())),
    },
    {
      name: 'models',
      kind: kinds.models,
      required: false,
      check: async (signal) => ({ version: await models.ping(signal) }),
      breaker: models.breaker,
    },
  ];
  if (vectors)
    probes.push({
      name: 'vectors',
      kind: kinds.vectors,
      required: false,
      check: async (signal) => ({ version: await vectors.ping(signal) }),
      breaker: vectors.breaker,
    });
  return probes;
}

function totals(lanes: LaneCounts[]) {
  const sum = (key: keyof LaneCounts) => lanes.reduce((total, lane) => total + lane[key], 0);
  return { waiting: sum('waiting'), active: sum('active'), delayed: sum('delayed') };
}
