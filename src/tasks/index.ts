import { chat } from './chat.ts';
import type { TaskType } from './define.ts';
import { echo } from './echo.ts';
import { embed } from './embed.ts';
import { generate } from './generate.ts';
import { httpRequest } from './http-request.ts';
import { LANES } from './lanes.ts';
import { vectorSearch } from './vector-search.ts';
import { vectorUpsert } from './vector-upsert.ts';

/** Every task type there is. A new kind of work is a file beside this one and a line here. */
const TASK_TYPES = [echo, chat, generate, embed, httpRequest, vectorUpsert, vectorSearch] as const;

/** The task types by name. */
export interface Registry {
  find(name: string): TaskType | undefined;
  list(): TaskType[];
}

/**
 * Checks the task types and makes the registry.
 * @param options.vectors whether types of the `vector` lane are offered
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
    const example = type.examples[0] as Record<string, unknown>;
    const wrongUrl = type.urls?.find((field) => typeof example[field] !== 'string');
    if (wrongUrl !== undefined) throw new Error(`${where}: urls names ${wrongUrl}, which its first example has not`);
    byName.set(type.name, type);
  }
  for (const [name, type] of byName) if (type.lane === 'vector' && !options.vectors) byName.delete(name);
  return { find: (name) => byName.get(name), list: () => [...byName.values()] };
}
