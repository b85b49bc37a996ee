import type { HostHealth } from '../clients/ollama.ts';
import { isWritable } from '../db/away.ts';
import type { Parts } from '../parts.ts';
import type { LaneCounts } from '../queues/dispatcher.ts';
import { metrics } from '../telemetry/metrics.ts';
import type { Probe } from './readiness.ts';

type Asked = Pick<Parts, 'db' | 'backend' | 'dispatcher' | 'models' | 'vectors' | 'kinds'>;

/** How each dependency is asked. To accept and store tasks only the database is needed; to run them, the queue too. */
export function createProbes({ db, backend, dispatcher, models, vectors, kinds }: Asked, worksOnly: boolean): Probe[] {
  const probes: Probe[] = [
    {
      name: 'database',
      kind: kinds.database,
      required: true,
      check: async () => {
        return (await isWritable(db)) ? {} : { flaw: { reason: 'read_only', useless: true } };
      },
    },
    {
      name: 'queues',
      kind: `BullMQ on ${backend.kind === 'redis' ? 'Redis' : kinds.database}`,
      required: worksOnly,
      check: async () => ({ ...totals(Object.values(await dispatcher.counts())), flaw: backend.flaw() }),
    },
    {
      name: 'models',
      kind: kinds.models,
      required: false,
      check: async (signal) => modelHosts(await models.health(signal)),
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

/** Tasks go on as long as one host answers. @throws where none does */
function modelHosts(hosts: HostHealth[]) {
  // Counted here, because a process that calls no models notices nowhere else that a host is away.
  for (const { host, version } of hosts) metrics.modelHostUp.set({ host }, version === undefined ? 0 : 1);
  const up = hosts.filter(({ version }) => version !== undefined);
  if (up.length === 0) throw new Error('no model host answers');
  const flaw = up.length < hosts.length ? { reason: 'hosts_down', useless: false } : undefined;
  return { version: up[0]?.version, hosts: hosts.length, up: up.length, flaw };
}

function totals(lanes: LaneCounts[]) {
  const sum = (key: keyof LaneCounts) => lanes.reduce((total, lane) => total + lane[key], 0);
  return { waiting: sum('waiting'), active: sum('active'), delayed: sum('delayed') };
}
