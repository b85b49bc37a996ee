/** The folder of a Postgres that has its server and its `pg_dump`. */
export function findPostgres(): string | undefined;
