import type { ColumnType } from 'kysely';

// What a column gives when it is read, and takes when a row is inserted or updated.

export type Json<T> = ColumnType<T, string, string>;
export type NullableJson<T> = ColumnType<T | null, string | null | undefined, string | null>;
export type Time = ColumnType<Date, Date | string, Date | string>;
export type GeneratedTime = ColumnType<Date, Date | string | undefined, Date | string>;
export type NullableTime = ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
