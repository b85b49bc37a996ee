import { type Kysely, sql } from 'kysely';

const UP = [
  // How alike two vectors are; until its first vector, a collection without a model does not know how long they are. A collection
  // that was removed has left its name, and its row goes once nothing of it is in the vector store.
  `alter table collections
    add column distance varchar(10) not null default 'Cosine' check (distance in ('Cosine', 'Dot', 'Euclid')),
    add column removed_at timestamptz,
    add column sweep_at timestamptz,
    add column quiet boolean not null default false,
    alter column dimensions drop not null`,
  `create index collections_sweep_at_idx on collections (sweep_at) where removed_at is not null`,
];

const DOWN = [
  `delete from collections where dimensions is null or removed_at is not null`,
  `alter table collections
    drop column distance, drop column removed_at, drop column sweep_at, drop column quiet,
    alter column dimensions set not null`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const statement of DOWN) await sql.raw(statement).execute(db);
}
