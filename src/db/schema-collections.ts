import type { Generated } from 'kysely';
import type { GeneratedTime, NullableTime, Time } from './columns.ts';

/** How the store compares two vectors, in Qdrant's words. */
export const DISTANCES = ['Cosine', 'Dot', 'Euclid'] as const;
export type Distance = (typeof DISTANCES)[number];

export interface CollectionTable {
  id: string;
  user_id: string;
  /** Unique among those of a user; one that was removed has a name that no user can give. */
  name: string;
  /** `null` where the vectors are of the user's own making. */
  embedding_model: string | null;
  /** `null` until the first vector of a collection without a model. */
  dimensions: number | null;
  distance: Generated<Distance>;
  /** The digest that the model has by which its texts were embedded; `null` until the first one was, and where no host tells. */
  model_digest: Generated<string | null>;
  /** What that model makes of a text that is known, as floats of 32 bits. */
  model_probe: Generated<Buffer | null>;
  created_at: GeneratedTime;
  removed_at: NullableTime;
  /** When a removed one is looked at next. */
  sweep_at: NullableTime;
  /** Whether no attempt that knew it was at work any more when a removed one was last looked at. */
  quiet: Generated<boolean>;
}

/** When a user last removed a collection of a name. */
export interface RemovedCollectionTable {
  user_id: string;
  name: string;
  removed_at: Time;
}
