import type { RawBuilder } from 'kysely';
import type { Db } from './connect.ts';

/** Stands in a statement for a value that each call gives. */
export class Place {
  readonly index: number;

  constructor(index: number) {
    this.index = index;
  }
}

const names = new Map<string, string>();

/** Under which name a connection keeps a statement with this text, parsed and planned; `undefined` for one that comes seldom. */
export const nameOf = (text: string): string | undefined => names.get(text);

/**
 * A statement that comes by the thousand: its text is put together once, and each connection parses and plans it once.
 * @param name one that no other statement has
 * @param make is given the places of the values, in the order in which a call gives them
 */
export function prepared<Values extends unknown[], Row>(
  name: string,
  make: (...places: { [K in keyof Values]: Place }) => RawBuilder<Row>,
): (db: Db, ...values: Values) => Promise<Row[]> {
  let compiled: ReturnType<RawBuilder<Row>['compile']> | undefined;

  return async (db, ...values) => {
    if (!compiled) {
      const places = Array.from({ length: make.length }, (_, index) => new Place(index));
      compiled = make(...(places as { [K in keyof Values]: Place })).compile(db);
      names.set(compiled.sql, name);
    }
    const parameters = compiled.parameters.map((given) => (given instanceof Place ? values[given.index] : given));
    return (await db.executeQuery<Row>({ ...compiled, parameters })).rows;
  };
}
