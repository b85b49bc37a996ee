import { agentRun } from './agent-run.ts';
import { chat } from './chat.ts';
import type { TaskType } from './define.ts';
import { documentIngest } from './document-ingest.ts';
import { echo } from './echo.ts';
import { embed } from './embed.ts';
import { generate } from './generate.ts';
import { httpRequest } from './http-request.ts';
import { LANES } from './lanes.ts';
import { modelPull } from './model-pull.ts';
import { ragAnswer } from './rag-answer.ts';
import { taskBulk } from './task-bulk.ts';
import { vectorDelete } from './vector-delete.ts';
import { vectorSearch } from './vector-search.ts';
import { vectorUpsert } from './vector-upsert.ts';
import { workflow } from './workflow.ts';

/** Every task type there is. A new kind of work is a file beside this one and a line here. */
const TASK_TYPES = [
  echo,
  chat,
  generate,
  embed,
  httpRequest,
  agentRun,
  vectorUpsert,
  vectorSearch,
  vectorDelete,
  documentIngest,
  ragAnswer,
  modelPull,
  taskBulk,
  workflow,
] as const;

/** The task types as types, each with its name and schemas: what the client derives its own from. */
export type BuiltInTask = Exclude<(typeof TASK_TYPES)[number], typeof taskBulk | typeof modelPull>;

/** The task types by name. */
export interface Registry {
  find(name: string): TaskType | undefined;
  /** Those that anybody can submit: without those that a route of their own makes. */
  list(): TaskType[];
  /** All there are. */
  all(): TaskType[];
}

/**
 * Checks the task types and makes the registry.
 * @param options.vectors whether types are offered that want the vector store
 * @throws Error that names the line to mend, so that a wrong registry never starts
 */
export function createRegistry(options: { vectors: boolean }, types: readonly unknown[] = TASK_TYPES): Registry {
  const byName = new Map<string, TaskType>();
  for (const type of types as TaskType[]) {
    const where = `task type ${JSON.stringify(type?.name)} in src/tasks/index.ts`;
    if (!/^[a-z]+(\.[a-z]+)*$/.test(type?.name ?? ''))
      throw new Error(`${where}: the name must be words in lower case with dots between`);
    if (byName.has(type.name)) throw new Error(`${where} stands there twice: take one line out`);
    if (!LANES.includes(type.lane)) throw new Error(`${where}: the lane must be one of ${LANES.join(', ')}`);
    if (typeof type.run !== 'function') throw new Error(`${where} has no run function`);
    if (type.examples.length === 0) throw new Error(`${where} has no example`);
    const examples = type.examples as ReadonlyArray<Record<string, unknown>>;
    const wrongUrl = type.urls?.find((field) => !examples.some((one) => typeof one[field] === 'string'));
    if (wrongUrl !== undefined) throw new Error(`${where}: urls names ${wrongUrl}, which none of its examples has`);
    byName.set(type.name, type);
  }
  for (const [name, type] of byName)
    if (!options.vectors && (type.vectors || type.lane === 'vector')) byName.delete(name);
  const all = () => [...byName.values()];
  return { find: (name) => byName.get(name), list: () => all().filter(({ route }) => route === undefined), all };
}
