import type { Db } from '../db/connect.ts';
import { CONNECTION_STATES, readStatistics } from '../db/statistics.ts';
import { metrics } from '../telemetry/metrics.ts';

/** What Postgres tells of itself. @throws where it does not answer */
export async function readPostgres(db: Db): Promise<void> {
  const said = await readStatistics(db);
  for (const state of CONNECTION_STATES) metrics.postgresConnections.set({ state }, said.connections[state]);
  metrics.postgresConnectionsMax.set(said.connections_max);
  metrics.postgresLongestTransaction.set(said.longest_transaction_seconds);
  metrics.postgresSize.set(said.bytes);
  // Postgres counts these itself, and begins anew when its statistics are reset.
  metrics.postgresTransactions.reset();
  metrics.postgresTransactions.inc({ outcome: 'commit' }, said.commits);
  metrics.postgresTransactions.inc({ outcome: 'rollback' }, said.rollbacks);
  metrics.postgresBlocks.reset();
  metrics.postgresBlocks.inc({ kind: 'memory' }, said.blocks_in_memory);
  metrics.postgresBlocks.inc({ kind: 'disk' }, said.blocks_from_disk);
  metrics.postgresDeadlocks.reset();
  metrics.postgresDeadlocks.inc(said.deadlocks);
  metrics.postgresChecksumFailures.reset();
  metrics.postgresChecksumFailures.inc(said.checksum_failures);
}
