import type { Callbacks } from './callbacks.ts';
import type { ModelClient } from './clients/ollama.ts';
import type { Outbound } from './clients/outbound.ts';
import type { VectorClient } from './clients/qdrant.ts';
import type { Config } from './config.ts';
import type { Db } from './db/connect.ts';
import type { Notifications } from './db/notify.ts';
import type { MetricsPage } from './health/metrics.ts';
import type { Readiness } from './health/readiness.ts';
import type { Logger } from './log.ts';
import type { QueueBackend } from './queues/backend.ts';
import type { Dispatcher } from './queues/dispatcher.ts';
import type { Places } from './queues/places.ts';
import type { SecretBox } from './secretbox.ts';
import type { Registry } from './tasks/index.ts';
import type { Workflows } from './workflows/engine.ts';

/** What the API and the workers of a process are built from; made by `deps.ts`. */
export interface Parts {
  config: Config;
  db: Db;
  backend: QueueBackend;
  dispatcher: Dispatcher;
  places: Places;
  notifications: Notifications;
  registry: Registry;
  models: ModelClient;
  vectors: VectorClient | undefined;
  outbound: Outbound;
  box: SecretBox;
  /** The addresses at which something outside answers tasks. */
  callbacks: Callbacks;
  /** Moves workflows on. */
  workflows: Workflows;
  /** How ready this process is. */
  readiness: Readiness;
  /** What was measured; not there where that is switched off. */
  metricsPage: MetricsPage | undefined;
  /** What to call the dependencies towards users: configured or embedded. */
  kinds: { database: string; models: string; vectors: string };
  log: Logger;
}
