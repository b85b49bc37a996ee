import * as v from 'valibot';
import type { AgentType } from '../db/schema.ts';
import { jsonObject, maxCharacters, modelName, record, strictObject, wholeNumber } from '../tasks/schemas.ts';
import { textRequest } from '../tasks/text-schemas.ts';
import { common, expression, few, headers, path, pathTemplate, template } from './fields.ts';
import { loopTools } from './loop/config.ts';

const MAX_PROMPT = 32_768;

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;

/** A service with an interface of its own: what a request to it is made of, and where its answer holds what is wanted. */
const httpConfig = strictObject({
  ...common,
  request: v.optional(
    v.pipe(
      strictObject({
        method: v.optional(v.picklist(METHODS, `must be one of ${METHODS.join(', ')}`), 'POST'),
        path: v.optional(
          v.pipe(pathTemplate, v.description('Below the endpoint; the value of an expression is one part of it.')),
        ),
        query: v.optional(v.pipe(jsonObject, record(v.pipe(v.string(), maxCharacters(200)), template), few)),
        headers: v.optional(headers),
        body: v.optional(
          v.pipe(
            v.unknown(),
            v.description('Any JSON, whose texts may hold expressions; the whole input where it is not given.'),
          ),
        ),
      }),
      v.forward(
        v.check(({ method, body }) => body === undefined || method !== 'GET', 'cannot go with GET'),
        ['body'],
      ),
    ),
    {},
  ),
  response: v.optional(
    strictObject({
      output: v.optional(
        v.pipe(expression, v.description('Of `status`, `headers` and `body`; the body where it is not given.')),
      ),
      error: v.optional(
        v.pipe(expression, v.description('Of the same: a text says that the call has failed in spite of its status.')),
      ),
    }),
    {},
  ),
  async: v.optional(
    v.pipe(
      strictObject({
        timeout_seconds: v.optional(
          v.pipe(wholeNumber(1, 2_592_000), v.description('How long its call back is awaited.')),
          3_600,
        ),
        output: v.optional(
          v.pipe(expression, v.description('Of `body`, what it calls back with; all of it otherwise.')),
        ),
        error: v.optional(v.pipe(expression, v.description('Of `body`: a text says that it has failed.'))),
      }),
      v.description(
        'For one that may answer 202 and call back later, at the address in `Sutazai-Callback` or `${{ callback_url }}`.',
      ),
    ),
  ),
});

/** An agent that speaks Agent2Agent. */
const a2aConfig = strictObject({
  ...common,
  card_path: v.optional(path, '/.well-known/agent-card.json'),
  headers: v.optional(headers),
  push: v.optional(
    v.pipe(v.boolean(), v.description('Whether it is asked to call back where its card says that it can.')),
    true,
  ),
  poll_seconds: v.optional(
    v.pipe(
      wholeNumber(1, 3_600),
      v.description('How soon a task of it is looked at again; by and by up to ten times as late.'),
    ),
    5,
  ),
  wait_seconds: v.optional(
    v.pipe(wholeNumber(1, 2_592_000), v.description('How long a task of it is awaited.')),
    3_600,
  ),
});

const temperature = v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(2)));

/** Anything that answers chat completions as OpenAI does. A secret of the name `api_key` is sent as the bearer token. */
const openaiConfig = strictObject({
  ...common,
  model: v.pipe(v.string(), v.minLength(1, 'must not be empty'), maxCharacters(200)),
  system: v.optional(v.pipe(v.string(), maxCharacters(MAX_PROMPT))),
  path: v.optional(path, '/v1/chat/completions'),
  headers: v.optional(headers),
  options: v.optional(
    strictObject({
      ...{ temperature, top_p: temperature, frequency_penalty: v.optional(v.number()) },
      ...{ presence_penalty: v.optional(v.number()), seed: v.optional(v.pipe(v.number(), v.safeInteger())) },
      max_tokens: v.optional(wholeNumber(1, 1_048_576)),
      max_completion_tokens: v.optional(wholeNumber(1, 1_048_576)),
      stop: v.optional(v.pipe(v.array(v.string()), v.maxLength(16, 'must be at most 16'))),
      reasoning_effort: v.optional(v.picklist(['minimal', 'low', 'medium', 'high'])),
    }),
    {},
  ),
});

/** A model of the hosts that we have, with a system prompt and tools: a loop of both, bounded. */
const ollamaConfig = strictObject({
  ...common,
  model: v.optional(modelName),
  system: v.optional(v.pipe(v.string(), maxCharacters(MAX_PROMPT))),
  options: textRequest.options,
  tools: v.optional(loopTools, []),
  max_steps: v.optional(v.pipe(wholeNumber(1, 100), v.description('How often the model is asked.')), 10),
  max_tokens: v.optional(v.pipe(wholeNumber(1, 10_000_000), v.description('Read and written together.')), 100_000),
  max_seconds: v.optional(v.pipe(wholeNumber(1, 86_400), v.description('That its steps take together.')), 600),
});

/** The configuration of each type. A field that is added later is optional: older agents are stored without it. */
export const AGENT_CONFIGS = {
  http: httpConfig,
  a2a: a2aConfig,
  openai: openaiConfig,
  ollama: ollamaConfig,
} as const satisfies Record<AgentType, v.GenericSchema<unknown, unknown>>;

/** The configuration with what holds where nothing was said. */
export type AgentConfig<T extends AgentType = AgentType> = v.InferOutput<(typeof AGENT_CONFIGS)[T]>;
