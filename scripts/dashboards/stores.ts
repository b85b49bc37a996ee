import type { Board } from './grafana.ts';

/** Postgres, which holds the truth, and Redis, which may be lost. */
export const STORES_BOARD: Board = {
  name: 'stores',
  title: 'SutazAI: database and Redis',
  shows: 'Postgres, which holds the truth, Redis with the jobs of BullMQ, and how the processes reach them.',
  rows: [
    {
      title: 'As the processes see them',
      panels: [
        {
          title: 'Works for the process',
          shows: '1 where it does. All at 0: it is down. One at 0: that process is cut off.',
          unit: 'none',
          queries: {
            '{{dependency}} of {{job}} {{instance}}': 'sutazai_dependency_up{dependency=~"database|queues|vectors"}',
          },
          limits: { atLeast: 1 },
        },
        {
          title: 'Connections of the pools',
          shows: 'To Postgres, of all processes together.',
          unit: 'none',
          stacked: true,
          queries: { '{{pool}} {{state}}': 'sum by (pool, state) (sutazai_database_pool_connections)' },
        },
        {
          title: 'Statements that wait for a connection',
          shows: 'By process. For longer than moments: DATABASE_POOL_MAX is too small, or statements are slow.',
          unit: 'none',
          queries: { '{{job}} {{instance}}': 'sum by (job, instance) (sutazai_database_pool_waiting)' },
          limits: { bad: 1 },
        },
      ],
    },
    {
      title: 'Postgres',
      panels: [
        {
          title: 'Connections in use',
          shows: 'By state, of everybody; the line is max_connections.',
          unit: 'none',
          queries: {
            '{{state}}': 'max by (state) (sutazai_postgres_connections)',
            'at most': 'max(sutazai_postgres_connections_max)',
          },
        },
        {
          title: 'Transactions',
          shows: 'A second, of this database.',
          unit: 'ops',
          queries: { '{{outcome}}': 'max by (outcome) (rate(sutazai_postgres_transactions_total[$__rate_interval]))' },
        },
        {
          title: 'Found in memory',
          shows: 'The share of blocks that were in the buffers of Postgres.',
          unit: 'percentunit',
          queries: { hits: 'max(sutazai:sutazai_postgres_hits:ratio5m)' },
        },
        {
          title: 'Longest transaction',
          shows: 'How long it has been open. It keeps vacuum from what was deleted since.',
          unit: 's',
          queries: { longest: 'max(sutazai_postgres_longest_transaction_seconds)' },
          limits: { bad: 600 },
        },
        {
          title: 'Size',
          shows: 'Of this database on disk.',
          unit: 'bytes',
          queries: { size: 'max(sutazai_postgres_size_bytes)' },
        },
        {
          title: 'Deadlocks, and broken blocks',
          shows: 'Within an hour. A broken block is lost data: docs/runbooks/data-corrupted.md.',
          unit: 'none',
          queries: {
            deadlocks: 'max(increase(sutazai_postgres_deadlocks_total[1h]))',
            'broken blocks': 'max(increase(sutazai_postgres_checksum_failures_total[1h]))',
          },
          limits: { bad: 1 },
        },
      ],
    },
    {
      title: 'Redis',
      panels: [
        {
          title: 'Memory',
          shows: 'In use, and what it may use (maxmemory; 0 is no limit).',
          unit: 'bytes',
          queries: {
            'in use': 'max(sutazai_redis_memory_bytes)',
            'at most': 'max(sutazai_redis_memory_max_bytes)',
          },
        },
        {
          title: 'Commands',
          shows: 'A second, of everybody.',
          unit: 'ops',
          queries: { commands: 'max(rate(sutazai_redis_commands_total[$__rate_interval]))' },
        },
        {
          title: 'Jobs of BullMQ',
          shows: 'By state. They are made again from the rows where they are lost.',
          unit: 'short',
          stacked: true,
          queries: { '{{lane}} {{state}}': 'max by (lane, state) (sutazai_queue_jobs)' },
        },
      ],
    },
  ],
};
