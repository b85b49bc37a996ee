import { type Listing, listing, type PageQuery } from './pages.ts';
import type { Call, CallOptions, Transport } from './transport.ts';
import type { TaskTypes } from './types.ts';

/** Points that are alike, found by a text or a vector. */
export interface Collection {
  id: string;
  name: string;
  /** What makes vectors of texts; `null` where they are of your own making. */
  embedding_model: string | null;
  /** The digest that it has by which the texts in it were embedded; `null` until the first was. */
  model_digest: string | null;
  /** How long each vector is; `null` until the first says so. */
  dimensions: number | null;
  distance: 'Cosine' | 'Dot' | 'Euclid';
  created_at: string;
  /** How many it has; `null` while the vector store does not answer. */
  points: number | null;
}

export interface NewCollection {
  name: string;
  /** The usual model where it is not given; `null` for vectors of your own making. */
  embedding_model?: string | null;
  /** Of vectors of your own making. */
  dimensions?: number;
  distance?: Collection['distance'];
}

type SearchTask = TaskTypes['vector.search'];

/** Either `query` or `vector`, and what the hits have to be besides. */
export type CollectionSearch = Omit<SearchTask['input'], 'collection'>;
export type CollectionHit = SearchTask['output']['hits'][number];

/** The calls for collections. Points go into them by the tasks `vector.upsert` and `vector.delete`. */
export function collectionCalls(transport: Transport) {
  const path = (name: string, below = '') => `/api/v1/collections/${encodeURIComponent(name)}${below}`;
  const send = async <T>(call: Call) => (await transport.send<T>(call)).body;

  return {
    list: (query: PageQuery = {}, options?: CallOptions): Listing<Collection> =>
      listing<Collection>(transport, '/api/v1/collections', { ...query }, options),

    create: (collection: NewCollection, options: CallOptions & { idempotencyKey?: string } = {}) =>
      send<Collection>({ method: 'POST', path: '/api/v1/collections', body: collection, creates: true, ...options }),

    get: (name: string, options: CallOptions = {}) => send<Collection>({ method: 'GET', path: path(name), ...options }),

    /** Takes everything in it away. */
    delete: (name: string, options: CallOptions = {}) => send<void>({ method: 'DELETE', path: path(name), ...options }),

    /** Answered directly, without a task. */
    search: async (name: string, search: CollectionSearch, options: CallOptions = {}): Promise<CollectionHit[]> => {
      const call: Call = { method: 'POST', path: path(name, '/search'), body: search, ...options };
      return (await send<{ hits: CollectionHit[] }>(call)).hits;
    },
  };
}
