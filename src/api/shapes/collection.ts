import * as v from 'valibot';
import type { CollectionRow } from '../../db/collections.ts';
import { DISTANCES } from '../../db/schema.ts';
import { named, sentId, sentTime } from '../../tasks/named.ts';
import type { Same } from '../answer.ts';

const fields = {
  id: sentId,
  name: v.string(),
  embedding_model: v.nullable(
    v.pipe(v.string(), v.description('What makes vectors of texts; null where they are of your own making.')),
  ),
  model_digest: v.nullable(
    v.pipe(
      v.string(),
      v.description('The digest that the model has by which the texts in it were embedded; null until the first was.'),
    ),
  ),
  dimensions: v.nullable(
    v.pipe(v.number(), v.integer(), v.description('How long each vector is; null until the first says so.')),
  ),
  distance: v.picklist(DISTANCES),
  created_at: sentTime,
};

/** A collection, as its owner sees it. */
export const collection = named(
  'Collection',
  v.strictObject({
    ...fields,
    points: v.nullable(
      v.pipe(v.number(), v.integer(), v.description('How many it has; null while the vector store does not answer.')),
    ),
  }),
);

true satisfies Same<
  v.InferOutput<typeof collection>,
  Pick<CollectionRow, keyof typeof fields> & { points: number | null }
>;

export const collectionExample: v.InferInput<typeof collection> = {
  id: '01980000-0000-7000-8000-000000000050',
  name: 'notes',
  embedding_model: 'all-minilm:latest',
  model_digest: 'sha256:1b226e2802dbb772b5fc32a58f103ca1804ef7501331012de126ab22f67475ef',
  dimensions: 384,
  distance: 'Cosine',
  created_at: '2030-01-30T09:00:00.000Z',
  points: 3,
};
