import type { ModelClient } from '../../clients/ollama.ts';
import type { Outbound } from '../../clients/outbound.ts';
import type { VectorClient } from '../../clients/qdrant.ts';
import type { Db } from '../../db/connect.ts';
import type { Logger } from '../../log.ts';
import type { Tools } from '../../tasks/tools.ts';
import type { Attempt } from '../attempt.ts';
import { httpTools } from './http.ts';
import { modelTools } from './models.ts';
import { vectorTools } from './vectors.ts';

interface Options {
  db: Db;
  models: ModelClient;
  vectors: VectorClient | undefined;
  outbound: Outbound;
  /** Takes progress of an attempt; called as often as the task likes. */
  onProgress: (attempt: Attempt, percent: number | null, message: string | null) => void;
  maxOutputBytes: number;
  log: Logger;
}

/** Makes the function that hands a running attempt its tools. */
export function createToolFactory({
  db,
  models: modelClient,
  vectors,
  outbound,
  onProgress,
  maxOutputBytes,
  log,
}: Options): (attempt: Attempt) => Tools {
  return (attempt) => {
    const { task, signal } = attempt;
    const taskLog = log.child({ task_id: task.id, attempt: task.attempt });
    const progress = (percent: number | null, message?: string) => onProgress(attempt, percent, message ?? null);
    const models = modelTools(attempt, { models: modelClient, progress, maxOutputBytes });
    return {
      models,
      vectors: vectorTools(db, vectors, attempt, models.embed),
      http: httpTools(attempt, outbound, maxOutputBytes),
      signal,
      progress,
      log: { info: (text) => taskLog.info(text), warn: (text) => taskLog.warn(text) },
      attempt: task.attempt,
      taskId: task.id,
    };
  };
}
