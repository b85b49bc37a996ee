import { type RawBuilder, sql } from 'kysely';
import type { Db } from './connect.ts';

/** Where sealed values stand: a column, or a part of one. */
interface Holder {
  table: string;
  /** The primary key, with the types of its columns. */
  key: ReadonlyArray<readonly [name: string, type: string]>;
  /** The value, as bytes, of a row `t`. */
  value: RawBuilder<unknown>;
  /** What puts another one, given in base64, into its place. */
  put: (base64: RawBuilder<unknown>) => RawBuilder<unknown>;
}

const ID = [['id', 'uuid']] as const;
const column = (table: string, key: Holder['key'], name: string): Holder => ({
  table,
  key,
  value: sql`t.${sql.ref(name)}`,
  put: (base64) => sql`${sql.ref(name)} = decode(${base64}, 'base64')`,
});

/** In this order: what is copied is sealed anew before the copies are. */
const HOLDERS: readonly Holder[] = [
  column('signing_keys', [['kid', 'text']], 'secret'),
  column('agents', ID, 'secrets'),
  column('schedules', ID, 'webhook_secret'),
  {
    table: 'tasks',
    key: ID,
    value: sql`decode(t.webhook ->> 'secret', 'base64')`,
    put: (base64) => sql`webhook = jsonb_set(t.webhook, '{secret}', to_jsonb(${base64}))`,
  },
  column('webhook_endpoints', ID, 'secret'),
  column('webhook_endpoints', ID, 'previous_secret'),
  column('deliveries', ID, 'secret'),
  column(
    'idempotency_keys',
    [
      ['user_id', 'uuid'],
      ['caller', 'uuid'],
      ['key', 'text'],
    ],
    'answer',
  ),
];

/** What a pass over all sealed values came to. */
export interface Resealed {
  /** How many were sealed anew. */
  done: number;
  /** How many somebody else was at; they are left for the next pass. */
  busy: number;
  /** How many nobody here can open, by table. */
  lost: Map<string, number>;
}

/** So many rows are read, and at most so many changed, by a statement. */
const PAGE = 500;

/**
 * Seals all values anew that do not begin with the mark, page by page, while everything goes on: a value that somebody changes meanwhile
 * stays as they left it, and no row is waited for.
 * @param reseal makes the value anew; `undefined` where it cannot be opened
 */
export async function resealAll(
  db: Db,
  mark: Buffer,
  reseal: (sealed: Buffer) => Buffer | undefined,
): Promise<Resealed> {
  const all: Resealed = { done: 0, busy: 0, lost: new Map() };
  for (const holder of HOLDERS) {
    for (let after: string[] | undefined, more = true; more; ) {
      const rows = await listPage(db, holder, mark, after);
      const open = rows.flatMap(({ key, sealed }) => (sealed ? [{ key, sealed, made: reseal(sealed) }] : []));
      const known = open.filter((one): one is Change => one.made !== undefined);
      const done = known.length > 0 ? await putAnew(db, holder, known) : 0;
      all.done += done;
      all.busy += known.length - done;
      if (open.length > known.length)
        all.lost.set(holder.table, (all.lost.get(holder.table) ?? 0) + open.length - known.length);
      after = rows.at(-1)?.key;
      more = rows.length === PAGE;
    }
  }
  return all;
}

interface Row {
  key: string[];
  /** Not there where it bears the mark already, or there is none. */
  sealed: Buffer | null;
}
type Change = Row & { sealed: Buffer; made: Buffer };

async function listPage(db: Db, { table, key, value }: Holder, mark: Buffer, after?: string[]): Promise<Row[]> {
  const names = sql.join(key.map(([name]) => sql.ref(`t.${name}`)));
  const from = after
    ? sql`where (${names}) > (${sql.join(key.map(([, type], index) => sql`${after[index]}::${sql.raw(type)}`))})`
    : sql``;
  const { rows } = await sql<Row>`
    select key, case when length(sealed) > 0 and substring(sealed for ${mark.length}::int) <> ${mark} then sealed end as sealed
    from (
      select array[${sql.join(key.map(([name]) => sql`${sql.ref(`t.${name}`)}::text`))}] as key, ${value} as sealed
      from ${sql.table(table)} t ${from} order by ${names} limit ${PAGE}
    ) page`.execute(db);
  return rows;
}

/** Answers how many were still as they had been, and free. */
async function putAnew(db: Db, { table, key, value, put }: Holder, changes: Change[]): Promise<number> {
  const given = changes.map(({ key: names, sealed, made }) => ({
    ...Object.fromEntries(names.map((name, index) => [`k${index}`, name])),
    old: sealed.toString('base64'),
    made: made.toString('base64'),
  }));
  const columns = sql.join(key.map(([, type], index) => sql.raw(`k${index} ${type}`)));
  const same = sql.join(
    key.map(([name], index) => sql`t.${sql.ref(name)} = ${sql.ref(`g.k${index}`)}`),
    sql` and `,
  );
  const { numAffectedRows } = await sql`
    with free as (
      select t.ctid, g.made from json_to_recordset(${JSON.stringify(given)}::json) as g(${columns}, old text, made text)
      join ${sql.table(table)} t on ${same} and ${value} = decode(g.old, 'base64')
      for no key update of t skip locked
    )
    update ${sql.table(table)} t set ${put(sql`free.made`)} from free where t.ctid = free.ctid`.execute(db);
  return Number(numAffectedRows ?? 0);
}
