import * as v from 'valibot';
import { AGENT_TYPES } from '../../db/schema.ts';
import { named, sentId, sentTime } from '../../tasks/named.ts';
import { jsonObject } from '../../tasks/schemas.ts';

const INSIDE = 'null where you may use it, but not change it.';

/** An agent, as those see it who may use it; the values of its secrets are in no answer. */
export const agent = named(
  'Agent',
  v.strictObject({
    id: sentId,
    user_id: v.nullable(v.pipe(sentId, v.description('Whose it is; null where it is everybody’s.'))),
    name: v.string(),
    type: v.picklist(AGENT_TYPES),
    description: v.nullable(v.string()),
    endpoint: v.nullable(v.pipe(v.string(), v.description(`Null for a model of our own hosts; ${INSIDE}`))),
    port: v.nullable(v.pipe(v.number(), v.integer())),
    is_active: v.boolean(),
    capabilities: v.array(v.string()),
    config: v.nullable(v.pipe(jsonObject, v.description(`As it was given, without what holds otherwise; ${INSIDE}`))),
    secret_names: v.nullable(v.pipe(v.array(v.string()), v.description(`What its secrets are called; ${INSIDE}`))),
    created_at: sentTime,
    updated_at: sentTime,
  }),
);

export const agentExample: v.InferInput<typeof agent> = {
  id: '01980000-0000-7000-8000-000000000060',
  user_id: '0199a5c0-1c52-7d0f-8a77-5b2e9d3c4f01',
  name: 'translator',
  type: 'http',
  description: 'Translates short texts.',
  endpoint: 'https://agents.example.com/translate',
  port: null,
  is_active: true,
  capabilities: ['translation'],
  config: {
    request: { headers: { Authorization: 'Bearer ${{ secrets.token }}' }, body: { text: '${{ input.text }}' } },
    response: { output: 'body.translation' },
  },
  secret_names: ['token'],
  created_at: '2030-01-30T09:00:00.000Z',
  updated_at: '2030-01-30T09:00:00.000Z',
};
