import { type Selectable, sql, type Transaction } from 'kysely';
import type { Definition } from '../tasks/workflow-definition.ts';
import type { Db } from './connect.ts';
import { newId } from './ids.ts';
import { pageOf } from './page.ts';
import type { Database, WorkflowDefinitionTable, WorkflowVersionTable } from './schema.ts';

export type WorkflowRow = Selectable<WorkflowDefinitionTable>;
export type VersionRow = Selectable<WorkflowVersionTable>;
/** A version without what is in it, which may be long. */
export type VersionLine = Omit<VersionRow, 'definition'>;

/** What no text of Postgres holds, but a path may. */
const NUL = '\u0000';

/** What runs under a name of this user: the version that is asked for, or the last; `undefined` where there is none. */
export async function loadDefinition(
  db: Db,
  userId: string,
  { workflow, version }: { workflow: string; version?: number | undefined },
): Promise<{ id: string; definition: Definition; version: number } | undefined> {
  return db
    .selectFrom('workflow_definitions as w')
    .innerJoin('workflow_versions as v', 'v.workflow_id', 'w.id')
    .select(['v.id', 'v.definition', 'v.version'])
    .where('w.user_id', '=', userId)
    .where('w.name', '=', workflow)
    .where('v.version', '=', version ?? sql<number>`w.version`)
    .executeTakeFirst();
}

/** The workflow of this user by its name. */
export async function findWorkflow(db: Db, userId: string, name: string): Promise<WorkflowRow | undefined> {
  if (name.includes(NUL)) return undefined;
  return db
    .selectFrom('workflow_definitions')
    .selectAll()
    .where('user_id', '=', userId)
    .where('name', '=', name)
    .executeTakeFirst();
}

/** The same, held until the transaction ends: nobody makes a version of it meanwhile. */
export async function holdWorkflow(
  trx: Transaction<Database>,
  userId: string,
  name: string,
): Promise<WorkflowRow | undefined> {
  if (name.includes(NUL)) return undefined;
  return trx
    .selectFrom('workflow_definitions')
    .selectAll()
    .where('user_id', '=', userId)
    .where('name', '=', name)
    .forUpdate()
    .executeTakeFirst();
}

/** A version of a workflow. */
export async function findVersion(db: Db, workflowId: string, version: number): Promise<VersionRow | undefined> {
  return db
    .selectFrom('workflow_versions')
    .selectAll()
    .where('workflow_id', '=', workflowId)
    .where('version', '=', version)
    .executeTakeFirst();
}

/** A page of the workflows of a user, newest first. */
export async function pageOfWorkflows(
  db: Db,
  userId: string,
  { limit, cursor }: { limit: number; cursor?: string },
): Promise<{ rows: WorkflowRow[]; next: string | null }> {
  const rows = await db
    .selectFrom('workflow_definitions')
    .selectAll()
    .where('user_id', '=', userId)
    .$if(cursor !== undefined, (query) => query.where('id', '<', cursor as string))
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute();
  return pageOf(rows, limit);
}

/** A page of the versions of a workflow, newest first. */
export async function pageOfVersions(
  db: Db,
  workflowId: string,
  { limit, cursor }: { limit: number; cursor?: string },
): Promise<{ rows: VersionLine[]; next: string | null }> {
  const rows = await db
    .selectFrom('workflow_versions')
    .select(['id', 'workflow_id', 'version', 'step_count', 'created_by', 'created_at'])
    .where('workflow_id', '=', workflowId)
    .$if(cursor !== undefined, (query) => query.where('id', '<', cursor as string))
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute();
  return pageOf(rows, limit);
}

interface NewWorkflow {
  userId: string;
  name: string;
  description: string | null;
  definition: Definition;
  by: string;
}

/** Stores a workflow as its version 1, unless the user has one of its name (`exists`), or `max` of them already (`full`; 0 is no limit). */
export async function insertWorkflow(
  trx: Transaction<Database>,
  { userId, name, description, definition, by }: NewWorkflow,
  max: number,
): Promise<{ is: 'stored'; row: WorkflowRow } | { is: 'exists' } | { is: 'full' }> {
  // Two requests of one user wait for each other here, so that they cannot both be the last that fits.
  await sql`select 1 from users where id = ${userId} for no key update`.execute(trx);
  if (await findWorkflow(trx, userId, name)) return { is: 'exists' };
  const { count } = await trx
    .selectFrom('workflow_definitions')
    .select((eb) => eb.fn.countAll().as('count'))
    .where('user_id', '=', userId)
    .executeTakeFirstOrThrow();
  if (max > 0 && Number(count) >= max) return { is: 'full' };
  const row = await trx
    .insertInto('workflow_definitions')
    .values({ id: newId(), user_id: userId, name, description, version: 1, step_count: definition.steps.length })
    .returningAll()
    .executeTakeFirstOrThrow();
  await insertVersion(trx, row, definition, by);
  return { is: 'stored', row };
}

/** Changes a workflow that is held; a definition makes a new version, which is the last from then on. */
export async function changeWorkflow(
  trx: Transaction<Database>,
  held: WorkflowRow,
  change: { description?: string | null | undefined; definition?: Definition | undefined; by: string },
): Promise<WorkflowRow> {
  const { definition, by } = change;
  const row = await trx
    .updateTable('workflow_definitions')
    .set({
      ...(change.description === undefined ? {} : { description: change.description }),
      ...(definition ? { version: held.version + 1, step_count: definition.steps.length } : {}),
      updated_at: sql<Date>`now()`,
    })
    .where('id', '=', held.id)
    .returningAll()
    .executeTakeFirstOrThrow();
  if (definition) await insertVersion(trx, row, definition, by);
  return row;
}

async function insertVersion(
  trx: Transaction<Database>,
  { id, version }: WorkflowRow,
  definition: Definition,
  by: string,
): Promise<void> {
  const content = { definition: JSON.stringify(definition), step_count: definition.steps.length };
  await trx
    .insertInto('workflow_versions')
    .values({ id: newId(), workflow_id: id, version, ...content, created_by: by })
    .execute();
}

/** Deletes a workflow with all its versions; tasks that have begun go on. */
export async function deleteWorkflow(db: Db, userId: string, name: string): Promise<WorkflowRow | undefined> {
  if (name.includes(NUL)) return undefined;
  return db
    .deleteFrom('workflow_definitions')
    .where('user_id', '=', userId)
    .where('name', '=', name)
    .returningAll()
    .executeTakeFirst();
}
