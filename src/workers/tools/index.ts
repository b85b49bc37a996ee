import type { Callbacks } from '../../callbacks.ts';
import type { ModelRights } from '../../clients/model-rights.ts';
import type { ModelClient } from '../../clients/ollama.ts';
import type { Outbound } from '../../clients/outbound.ts';
import type { VectorClient } from '../../clients/qdrant.ts';
import type { Config } from '../../config.ts';
import type { Db } from '../../db/connect.ts';
import { findRole } from '../../db/users.ts';
import type { DocumentReader } from '../../documents/reader.ts';
import type { Logger } from '../../log.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import type { Places } from '../../queues/places.ts';
import type { SecretBox } from '../../secretbox.ts';
import type { LogLevel, Tools } from '../../tasks/tools.ts';
import { createPointRoom } from '../../vectors/room.ts';
import type { Workflows } from '../../workflows/engine.ts';
import type { Attempt } from '../attempt.ts';
import { idsOf } from '../measure.ts';
import type { ProgressWriter } from '../progress.ts';
import { agentTools } from './agents/index.ts';
import { documentTools } from './documents.ts';
import { durableTools } from './durable.ts';
import { httpTools } from './http.ts';
import { modelTools } from './models.ts';
import { taskTools } from './tasks.ts';
import { vectorTools } from './vectors.ts';
import { workflowTools } from './workflows.ts';

interface Options {
  db: Db;
  models: ModelClient;
  vectors: VectorClient | undefined;
  outbound: Outbound;
  progress: ProgressWriter;
  /** Takes text of an attempt as it is made. */
  emit: (attempt: Attempt, text: string) => void;
  dispatcher: Dispatcher;
  places: Places;
  workflows: Workflows;
  /** What everybody may use who has no limits of their own. */
  limits: Config['limits']['user'];
  /** How many collections, documents and points a user may have; 0 is no limit. */
  most: Config['vectors']['most'];
  reader: DocumentReader;
  maxFileBytes: number;
  maxOutputBytes: number;
  callbacks: Callbacks;
  /** Which models a role may use. */
  rights: ModelRights;
  /** Opens the secrets of agents. */
  box: SecretBox;
  log: Logger;
}

/** Makes the function that hands a running attempt its tools. */
export function createToolFactory({
  db,
  models: modelClient,
  vectors,
  outbound,
  progress: writer,
  emit: onText,
  dispatcher,
  places,
  workflows,
  limits,
  most,
  reader,
  maxFileBytes,
  maxOutputBytes,
  callbacks,
  rights,
  box,
  log,
}: Options): (attempt: Attempt) => Tools {
  const room = createPointRoom({ db, max: most.points });
  return (attempt) => {
    const { task, signal } = attempt;
    const taskLog = onDemand(() => log.child(idsOf(task)));
    const emit = (text: string) => onText(attempt, text);
    const count = (tokens: number) => writer.report(attempt, null, `${tokens} tokens`, 'passing');
    const mayUse = async () => (rights.isOpen ? undefined : rights.of((await findRole(db, task.user_id)) ?? 'user'));
    const models = modelTools(attempt, { models: modelClient, count, emit, maxOutputBytes, mayUse });
    const line = (level: LogLevel) => (text: string, fields?: Record<string, unknown>) => {
      taskLog()[level](fields ?? {}, text);
      writer.log(attempt, level, text, fields);
    };
    const progress: Tools['progress'] = (percent, message) => writer.report(attempt, percent, message ?? null);
    const { embed } = models;
    const agents = onDemand(() => agentTools(attempt, () => tools, { db, outbound, box, log: taskLog() }));
    const ofVectors = onDemand(() =>
      vectorTools(attempt, { db, vectors, embed, room, maxCollections: most.collections }),
    );
    const documents = onDemand(() =>
      documentTools(attempt, { db, vectors, embed, outbound, reader, progress, maxFileBytes, room, most }),
    );
    const tools: Tools = {
      models,
      get agents() {
        return agents();
      },
      get vectors() {
        return ofVectors();
      },
      get documents() {
        return documents();
      },
      http: httpTools(attempt, outbound, maxOutputBytes),
      tasks: taskTools(attempt, { db, dispatcher, places, workflows, limits }),
      ...durableTools(attempt, { db, callbacks, maxOutputBytes }),
      workflows: workflowTools(attempt, { db, workflows, maxOutputBytes }),
      signal,
      progress,
      emit,
      log: { info: line('info'), warn: line('warn') },
      attempt: task.attempt,
      taskId: task.id,
    };
    return tools;
  };
}

/** Made when it is first asked for: most attempts use one family of tools. */
function onDemand<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
