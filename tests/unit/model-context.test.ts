import { expect, it } from 'vitest';
import { createModelCatalogue } from '../../src/clients/models.ts';
import { contextTool } from '../../src/workers/tools/context.ts';

it('the context that is reckoned with is that of the model that the role may use', async () => {
  const model = (name: string, context_length: number) => ({
    name,
    context_length,
    digest: name,
    capabilities: ['completion'],
  });
  const host = {
    label: 'a',
    models: () => [model('large:latest', 4_000), model('small:latest', 512)],
    isLoaded: () => false,
    isUp: () => true,
  };
  const models = createModelCatalogue({
    hosts: { all: [host], refresh: async () => {} } as never,
    pull: () => expect.fail('nothing is pulled for an estimate'),
    defaults: { completion: 'large', embedding: undefined },
    fallbacks: [],
    isAllowed: () => true,
    autoPull: true,
  });
  const all = contextTool({ models }, async () => undefined);
  const small = contextTool({ models }, async () => (name) => name.startsWith('small'));
  expect((await all({})).tokens).toBe(4_000);
  expect((await small({})).tokens).toBe(512);
  expect((await all({ model: 'none', fallback: false })).tokens).toBe(4_096);
  expect((await small({ model: 'large' })).tokens).toBe(4_096);
  expect((await all({ options: { num_ctx: 9_000 } })).tokens).toBe(9_000);
});
