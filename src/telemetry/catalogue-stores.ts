import { counter, gauge, type Metric } from './metric.ts';

/** Of the stores themselves, as they tell of themselves: every process that asks says the same. */
export const STORE_METRICS = {
  postgresConnections: gauge(
    'sutazai_postgres_connections',
    'connections of everybody: `active`, `idle`, `in_transaction` (idle within one), `other` (of users whose state is not told)',
    ['state'],
  ),
  postgresConnectionsMax: gauge('sutazai_postgres_connections_max', 'how many there may be', []),
  postgresTransactions: counter('sutazai_postgres_transactions_total', 'transactions: `commit` or `rollback`', [
    'outcome',
  ]),
  postgresBlocks: counter('sutazai_postgres_blocks_total', 'blocks that were found in `memory`, or read from `disk`', [
    'kind',
  ]),
  postgresDeadlocks: counter('sutazai_postgres_deadlocks_total', 'deadlocks', []),
  postgresChecksumFailures: counter(
    'sutazai_postgres_checksum_failures_total',
    'blocks that were not what had been written; 0 where Postgres keeps no checksums',
    [],
  ),
  postgresLongestTransaction: gauge(
    'sutazai_postgres_longest_transaction_seconds',
    'how long the oldest transaction has been open',
    [],
  ),
  postgresSize: gauge('sutazai_postgres_size_bytes', 'the database on disk', []),
  redisMemory: gauge('sutazai_redis_memory_bytes', 'what Redis holds', []),
  redisMemoryMax: gauge('sutazai_redis_memory_max_bytes', 'what it may hold (`maxmemory`); 0 is no limit', []),
  redisClients: gauge('sutazai_redis_clients', 'connections of everybody', []),
  redisCommands: counter('sutazai_redis_commands_total', 'commands of everybody', []),
  redisFlaw: gauge('sutazai_redis_flaw', '1 where Redis is not as it should be, by reason', ['reason']),
} as const satisfies Record<string, Metric>;
