import type { CallOptions, Query, Transport } from './transport.ts';
import type { Page } from './types.ts';

export interface PageQuery {
  /** How many at a time: 1 to 200, 50 where it is not said. */
  limit?: number;
  /** `next_cursor` of the page before. */
  cursor?: string;
}

/** A list: iterate it with `for await` for all of it, page by page as it is needed, or ask for one page. */
export interface Listing<T> extends AsyncIterable<T> {
  page(): Promise<Page<T>>;
}

/** Makes a listing of a path; nothing is asked before it is used. */
export function listing<T>(
  transport: Transport,
  path: string,
  query: Query & PageQuery,
  options: CallOptions = {},
): Listing<T> {
  const page = async (cursor?: string) =>
    (await transport.send<Page<T>>({ method: 'GET', path, query: { ...query, cursor }, ...options })).body;
  return {
    page: () => page(query.cursor),
    async *[Symbol.asyncIterator]() {
      let cursor: string | undefined = query.cursor;
      do {
        const { data, next_cursor }: Page<T> = await page(cursor);
        yield* data;
        cursor = next_cursor ?? undefined;
      } while (cursor !== undefined);
    },
  };
}
