import * as v from 'valibot';
import { named, sentTime } from '../../tasks/named.ts';

const row = {
  name: v.string(),
  kind: v.pipe(v.string(), v.description('What stands behind it, without an address.')),
  required: v.pipe(v.boolean(), v.description('Whether tasks cannot be accepted without it.')),
  status: v.picklist(['up', 'degraded', 'down']),
  reason: v.optional(v.pipe(v.string(), v.description('What is wrong although it answers.'))),
  breaker: v.optional(v.picklist(['closed', 'open', 'half_open'])),
  waiting: v.optional(v.number()),
  active: v.optional(v.number()),
  delayed: v.optional(v.number()),
  hosts: v.optional(v.pipe(v.number(), v.description('Of the model hosts: how many there are.'))),
  up: v.optional(v.pipe(v.number(), v.description('Of the model hosts: how many answer.'))),
};

/** How ready a process is, as `Readiness.ask` answers. */
export const readiness = named(
  'Readiness',
  v.strictObject({
    status: v.picklist(['ready', 'degraded', 'unavailable']),
    dependencies: v.array(v.strictObject(row)),
  }),
);

/** One process, and what it depends on. */
export const system = named(
  'System',
  v.strictObject({
    node: v.string(),
    started_at: sentTime,
    uptime_seconds: v.number(),
    memory: v.strictObject({ rss_bytes: v.number(), heap_used_bytes: v.number(), external_bytes: v.number() }),
    cpu: v.strictObject({ user_seconds: v.number(), system_seconds: v.number() }),
    event_loop_utilization: v.number(),
    queue_backend: v.picklist(['redis', 'postgres']),
    dependencies: v.array(v.strictObject({ ...row, version: v.optional(v.string()) })),
  }),
);

const DATABASE = { name: 'database', kind: 'Postgres', required: true, status: 'up' as const };
const QUEUES = {
  ...{ name: 'queues', kind: 'BullMQ on Redis', required: false, status: 'up' as const },
  ...{ waiting: 12, active: 4, delayed: 0 },
};

export const readyExample: v.InferInput<typeof readiness> = {
  status: 'degraded',
  dependencies: [
    DATABASE,
    QUEUES,
    { name: 'models', kind: 'Ollama', required: false, status: 'down', breaker: 'open' },
  ],
};

export const unreadyExample: v.InferInput<typeof readiness> = {
  status: 'unavailable',
  dependencies: [{ ...DATABASE, status: 'down', reason: 'read_only' }, QUEUES],
};

export const systemExample: v.InferInput<typeof system> = {
  node: 'v24.0.0',
  started_at: '2030-01-31T11:00:00.000Z',
  uptime_seconds: 3600,
  memory: { rss_bytes: 180_000_000, heap_used_bytes: 60_000_000, external_bytes: 5_000_000 },
  cpu: { user_seconds: 12.5, system_seconds: 1.5 },
  event_loop_utilization: 0.04,
  queue_backend: 'redis',
  dependencies: [DATABASE, QUEUES],
};
