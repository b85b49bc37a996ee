import * as v from 'valibot';
import { endpoint } from '../../agents/endpoint.ts';
import { agentName, capability } from '../../agents/names.ts';
import { changedSecrets, newSecrets } from '../../agents/secrets.ts';
import { AGENT_CONFIGS } from '../../agents/types.ts';
import { AGENT_TYPES } from '../../db/schema.ts';
import { jsonObject, maxCharacters, strictObject, wholeNumber } from '../../tasks/schemas.ts';

const fields = {
  name: agentName,
  description: v.nullable(v.pipe(v.string(), v.trim(), maxCharacters(500))),
  port: v.nullable(v.pipe(wholeNumber(1, 65_535), v.description('Where the endpoint names none.'))),
  is_active: v.boolean('must be true or false'),
  capabilities: v.pipe(
    v.array(capability),
    v.maxLength(50, 'must be at most 50'),
    v.check((given) => new Set(given).size === given.length, 'must not name one twice'),
    v.description('What it can do, in words of your own: a task may ask for one of them in the place of an agent.'),
  ),
};

const common = {
  name: fields.name,
  description: v.optional(fields.description, null),
  is_active: v.optional(fields.is_active, true),
  capabilities: v.optional(fields.capabilities, []),
  secrets: v.optional(newSecrets, {}),
  shared: v.optional(
    v.pipe(v.boolean('must be true or false'), v.description('Whether it is everybody’s; wants agents:write:any.')),
    false,
  ),
};
const { http, a2a, openai, ollama } = AGENT_CONFIGS;
const address = { endpoint, port: v.optional(fields.port, null) };

/** An agent that is made: what its configuration holds follows from its type. */
export const newAgent = v.variant(
  'type',
  [
    strictObject({ type: v.literal('http'), ...common, ...address, config: v.optional(http, {}) }),
    strictObject({ type: v.literal('a2a'), ...common, ...address, config: v.optional(a2a, {}) }),
    strictObject({ type: v.literal('openai'), ...common, ...address, config: openai }),
    strictObject({ type: v.literal('ollama'), ...common, config: v.optional(ollama, {}) }),
  ],
  `must be one of ${AGENT_TYPES.join(', ')}`,
);

/** What may be changed of one; its type stays. */
export const agentChange = v.partial(
  v.strictObject({
    ...{ ...fields, endpoint },
    config: v.pipe(jsonObject, v.description('The whole of it, as a new agent of the type would have it.')),
    secrets: changedSecrets,
  }),
);

export const TRANSLATOR = {
  ...{ name: 'translator', type: 'http' as const, endpoint: 'https://agents.example.com/translate' },
  capabilities: ['translation'],
  config: {
    request: { headers: { Authorization: 'Bearer ${{ secrets.token }}' }, body: { text: '${{ input.text }}' } },
    response: { output: 'body.translation' },
  },
  secrets: { token: 'what the agent knows you by' },
};
