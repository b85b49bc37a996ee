import { type Insertable, type Selectable, sql, type Transaction, type Updateable } from 'kysely';
import type { Db } from './connect.ts';
import { isId } from './ids.ts';
import { pageOf } from './page.ts';
import type { AgentTable, AgentType, Database } from './schema.ts';

export type AgentRow = Selectable<AgentTable>;
export type NewAgent = Insertable<AgentTable>;
export type AgentChange = Omit<Updateable<AgentTable>, 'id' | 'user_id' | 'type' | 'deleted_at'>;

/** Those of the agents that are there, active, and this user's or everybody's. */
export async function findActiveAgents(db: Db, userId: string, ids: string[]): Promise<Set<string>> {
  const rows = await db
    .selectFrom('agents')
    .select('id')
    .where('id', 'in', ids)
    .where(isFor(userId))
    .where('is_active', '=', true)
    .where('deleted_at', 'is', null)
    .execute();
  return new Set(rows.map(({ id }) => id));
}

/**
 * An agent that this user may use, by its id or its name; of two with the same name the user's own. It may be switched off.
 * @param userId `null` for nobody in particular, who may use those of everybody alone
 */
export async function findAgentFor(db: Db, userId: string | null, nameOrId: string): Promise<AgentRow | undefined> {
  return db
    .selectFrom('agents')
    .selectAll()
    .where((eb) => eb.or([eb('name', '=', nameOrId), ...(isId(nameOrId) ? [eb('id', '=', nameOrId)] : [])]))
    .where(isFor(userId))
    .where('deleted_at', 'is', null)
    .orderBy(sql`user_id is null`)
    .limit(1)
    .executeTakeFirst();
}

/** Those of the names and ids that stand for an agent which this user may use. */
export async function findAgentNames(db: Db, userId: string, namesOrIds: string[]): Promise<Set<string>> {
  const ids = namesOrIds.filter(isId);
  const rows = await db
    .selectFrom('agents')
    .select(['id', 'name'])
    .where(sql<boolean>`(name = any(${namesOrIds}::text[]) or id = any(${ids}::uuid[]))`)
    .where(isFor(userId))
    .where('deleted_at', 'is', null)
    .execute();
  return new Set(
    namesOrIds.filter((given) => rows.some(({ id, name }) => name === given || id === given.toLowerCase())),
  );
}

/** An agent of anybody's, by its id. */
export async function findAgent(db: Db, id: string): Promise<AgentRow | undefined> {
  return db.selectFrom('agents').selectAll().where('id', '=', id).where('deleted_at', 'is', null).executeTakeFirst();
}

export interface AgentFilter {
  /** Whose, those of everybody besides; all where it is not given. */
  userId?: string | undefined;
  type?: AgentType;
  capability?: string;
  cursor?: string;
  limit: number;
}

/** A page of agents, newest first. */
export async function pageOfAgents(
  db: Db,
  { userId, type, capability, cursor, limit }: AgentFilter,
): Promise<{ rows: AgentRow[]; next: string | null }> {
  let query = db
    .selectFrom('agents')
    .selectAll()
    .where('deleted_at', 'is', null)
    .orderBy('id', 'desc')
    .limit(limit + 1);
  if (userId) query = query.where(isFor(userId));
  if (type) query = query.where('type', '=', type);
  if (capability) query = query.where(sql<boolean>`capabilities ? ${capability}`);
  if (cursor) query = query.where('id', '<', cursor);
  return pageOf(await query.execute(), limit);
}

/**
 * Stores an agent unless its owner has one of its name (`exists`), or `max` of them already (`full`; 0 is no limit). Those of
 * everybody have no limit.
 */
export async function insertAgent(
  trx: Transaction<Database>,
  agent: NewAgent,
  max: number,
): Promise<{ is: 'stored'; row: AgentRow } | { is: 'exists' } | { is: 'full' }> {
  const user_id = agent.user_id ?? null;
  await lockNames(trx, user_id);
  if (user_id && max > 0) {
    const { count } = await trx
      .selectFrom('agents')
      .select((eb) => eb.fn.countAll().as('count'))
      .where('user_id', '=', user_id)
      .where('deleted_at', 'is', null)
      .executeTakeFirstOrThrow();
    if (Number(count) >= max) return { is: 'full' };
  }
  if (await isNameTaken(trx, { id: agent.id, user_id }, agent.name)) return { is: 'exists' };
  const row = await trx.insertInto('agents').values(agent).returningAll().executeTakeFirstOrThrow();
  return { is: 'stored', row };
}

/** An agent, held until the transaction ends. */
export async function holdAgent(trx: Transaction<Database>, id: string): Promise<AgentRow | undefined> {
  return trx
    .selectFrom('agents')
    .selectAll()
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .forUpdate()
    .executeTakeFirst();
}

/** Whether another agent of the same owner has the name; until the transaction ends, none gets it. */
export async function isNameTaken(
  trx: Transaction<Database>,
  { id, user_id }: Pick<AgentRow, 'id' | 'user_id'>,
  name: string,
): Promise<boolean> {
  await lockNames(trx, user_id);
  const { rows } = await sql`select 1 from agents
    where user_id is not distinct from ${user_id} and name = ${name} and id <> ${id} and deleted_at is null`.execute(
    trx,
  );
  return rows.length > 0;
}

/** Changes an agent that is held. */
export async function updateAgent(trx: Transaction<Database>, id: string, change: AgentChange): Promise<AgentRow> {
  return trx
    .updateTable('agents')
    .set({ ...change, updated_at: sql<Date>`now()` })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** Takes an agent away with its address and its secrets. The row stays while tasks name it. */
export async function removeAgent(db: Db, id: string): Promise<AgentRow | undefined> {
  return db
    .updateTable('agents')
    .set({
      ...{ deleted_at: sql<Date>`now()`, is_active: false, endpoint: null, port: null, description: null },
      ...{ config: '{}', secrets: null, secret_names: [] },
    })
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .returningAll()
    .executeTakeFirst();
}

/** Two requests for one owner wait for each other here, so that they cannot both get a name, or be the last that fits. */
async function lockNames(trx: Transaction<Database>, userId: string | null): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`agents of ${userId}`}, 0))`.execute(trx);
}

function isFor(userId: string | null) {
  return sql<boolean>`(user_id = ${userId} or user_id is null)`;
}
