import { resolver } from 'hono-openapi';
import type * as v from 'valibot';

/** As it goes over the wire: what is made of it inside does not matter. */
export function schemaOf(schema: v.GenericSchema<unknown, unknown>) {
  return resolver(schema, { options: { typeMode: 'input', target: 'draft-2020-12' } });
}
