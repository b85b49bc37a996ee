import type * as v from 'valibot';
import type { BuiltInTask } from '../tasks/index.ts';

/**
 * Input and output of every task type that the product brings, by name. In the package these types are written out
 * (`scripts/build-client.ts`), so that whoever imports it needs nothing else of the house.
 */
export type TaskTypes = {
  [T in BuiltInTask as T['name']]: { input: v.InferInput<T['input']>; output: v.InferOutput<T['output']> };
};
