import * as v from 'valibot';
import { type Capability, canonicalName, type ModelInfo } from '../../clients/models.ts';
import type { ModelClient } from '../../clients/ollama.ts';
import { ProblemError } from '../../errors.ts';
import type { Parts } from '../../parts.ts';
import { named } from '../../tasks/named.ts';
import { answers } from '../answer.ts';
import { beyondKey } from '../key-limits.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import { OpenAiError } from './error.ts';

const model = named(
  'OpenAIModel',
  v.strictObject({
    id: v.string(),
    object: v.literal('model'),
    created: v.pipe(v.number(), v.description('Always 0: model hosts do not say it.')),
    owned_by: v.string(),
  }),
);

const example: v.InferInput<typeof model> = { id: 'tinyllama:latest', object: 'model', created: 0, owned_by: 'ollama' };

/** The models of the hosts, as OpenAI lists its own. */
export function modelRoutes({ models }: { models: ModelClient }): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/v1/models',
      summary: 'The models of the hosts',
      answers: {
        200: answers('Every model.', v.strictObject({ object: v.literal('list'), data: v.array(model) }), {
          object: 'list',
          data: [example],
        }),
      },
      handle: async ({ principal }) => {
        const list = await listModels(models, principal);
        return { status: 200, body: { object: 'list', data: list.map(presentModel) } };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/v1/models/:model',
      summary: 'One model of the hosts',
      answers: { 200: answers('The model.', model, example) },
      handle: async ({ params: { model: name = '' }, principal }) => {
        const list = await listModels(models, principal);
        const found = findModel(list, name);
        if (!found) throw noSuchModel(name, list);
        return { status: 200, body: presentModel(found) };
      },
    }),
  ];
}

function presentModel({ name }: ModelInfo): v.InferOutput<typeof model> {
  return { id: name, object: 'model', created: 0, owned_by: 'ollama' };
}

type Rights = Pick<Principal, 'modelRefusal'>;

const isOpenTo =
  ({ modelRefusal }: Rights) =>
  ({ name }: ModelInfo) =>
    modelRefusal?.(name) === undefined;

/** Those that this principal may use. @throws ProblemError where the hosts do not answer */
async function listModels(models: ModelClient, principal: Rights): Promise<ModelInfo[]> {
  try {
    return (await models.models.list()).filter(isOpenTo(principal));
  } catch (error) {
    throw new ProblemError('temporary-reduced-capacity', 'The model host does not answer.', {
      headers: { 'Retry-After': '5' },
      cause: error,
    });
  }
}

/** The model of this name, with or without its tag. */
export function findModel(list: ModelInfo[], name: string): ModelInfo | undefined {
  return list.find((one) => canonicalName(one.name) === canonicalName(name));
}

/** What a call needs to know of the models. */
export type KnownModels = Pick<Parts, 'models' | 'config'>;

/**
 * The name of the model that a call wants, in full. While no host answers nobody knows, and the task waits for one.
 * @throws OpenAiError where it is not there, or cannot do what is asked: no other model answers at this door; ProblemError
 *   where it is not open to this principal
 */
export async function requireModel(
  { models, config }: KnownModels,
  principal: Rights,
  name: string,
  capability: Capability,
): Promise<string> {
  const refusal = principal.modelRefusal?.(name);
  if (refusal !== undefined) throw beyondKey([{ pointer: '#/model', detail: refusal }]);
  const list = await models.models.list().catch(() => undefined);
  const found = list && findModel(list, name);
  if (found && !found.capabilities.includes(capability)) {
    const message = `The model ${found.name} cannot do ${capability}; it can do ${found.capabilities.join(', ') || 'nothing'}.`;
    throw new OpenAiError(400, 'unsupported_model', message, { param: 'model' });
  }
  if (found || !list || config.models.autoPull) return found?.name ?? canonicalName(name);
  throw noSuchModel(name, list.filter(isOpenTo(principal)));
}

const MAX_NAMED = 20;

/** What OpenAI answers for a model that it does not have. */
function noSuchModel(name: string, list: ModelInfo[]): OpenAiError {
  const names = list.slice(0, MAX_NAMED).map((one) => one.name);
  const there = names.length > 0 ? `there are ${names.join(', ')}` : 'there is none';
  return new OpenAiError(404, 'model_not_found', `The model ${JSON.stringify(name)} does not exist here; ${there}.`, {
    param: 'model',
  });
}
