import type * as v from 'valibot';
import { canonicalName } from '../../clients/model-names.ts';
import type { Capability, ModelInfo } from '../../clients/models.ts';
import type { ModelClient, Removal } from '../../clients/ollama.ts';
import type { Config } from '../../config.ts';
import type { Db } from '../../db/connect.ts';
import { hasRunning } from '../../db/tasks/using-model.ts';
import { ProblemError } from '../../errors.ts';
import { modelPull } from '../../tasks/model-pull.ts';
import { answers, answersNothing } from '../answer.ts';
import { beyondKey, keyRefusals, usualPriority } from '../key-limits.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import { modelExample, model as modelShape, modelsExample, models as modelsShape } from '../shapes/model.ts';
import { pendingExample, taskExample, task as taskShape } from '../shapes/task.ts';
import type { StoreTasks } from '../store.ts';
import { applyCancelAfter, type PrepareContext, parsePreferWait, prepareTask } from '../submit.ts';
import { invalid } from '../validate.ts';
import type { Waiters } from '../waiters.ts';
import { answerHeld, storeHeld, TASK_HEADERS } from './task-answer.ts';

interface Options extends PrepareContext {
  db: Db;
  models: ModelClient;
  modelsKind: string;
  config: Config;
  store: StoreTasks;
  waiters: Waiters;
}

/** Where the default for a capability is used by tasks that name no model. */
const LANES = { completion: 'llm', embedding: 'embed' } as const;

/** The models of the hosts: which there are, pulling and deleting them. */
export function modelRoutes(options: Options): Route[] {
  const { db, models, modelsKind } = options;

  /** What a principal may know of. @throws ProblemError where no host answers */
  async function look(principal: Principal, fresh = false) {
    const mayUse = (name: string) => principal.modelRefusal?.(name) === undefined;
    const select = (capability: Capability) =>
      models.models.select(undefined, capability, { pull: false, mayUse }).catch(() => null);
    const list = await models.models.list(fresh).catch((error) => {
      throw away('The model host does not answer. Tasks are accepted and wait for it.', error);
    });
    const [completion, embedding] = await Promise.all([select('completion'), select('embedding')]);
    const data = list
      .filter(({ name }) => mayUse(name))
      .map((one) => ({
        ...one,
        default_for: [
          ...(completion?.model === one.name ? (['completion'] as const) : []),
          ...(embedding?.model === one.name ? (['embedding'] as const) : []),
        ],
      }));
    return { data, defaults: { completion, embedding } };
  }

  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/models',
      summary: 'The models that the hosts really have',
      answers: { 200: answers('Every model.', modelsShape, modelsExample) },
      handle: async ({ principal }) => ({
        status: 200,
        body: { ...(await look(principal)), served_by: modelsKind, next_cursor: null },
      }),
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/models/:name',
      summary: 'One model of the hosts',
      answers: { 200: answers('The model.', modelShape, modelExample) },
      handle: async ({ params, principal }) => {
        // It may have been pulled just now.
        const known =
          find((await look(principal)).data, params.name) ?? find((await look(principal, true)).data, params.name);
        if (!known) throw notThere();
        return { status: 200, body: known };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/models/pull',
      summary: 'Bring a model to the hosts',
      body: modelPull.input,
      example: { model: 'tinyllama' },
      headers: ['Prefer', 'Cancel-After'],
      idempotent: 'commit',
      answers: {
        200: answers('The task has ended within the time of `Prefer: wait`.', taskShape, PULLED, TASK_HEADERS),
        202: answers('The task that does it.', taskShape, PULL, TASK_HEADERS),
      },
      handle: async ({ body, sent, principal, requestId, base, key, trail, header, signal }) => {
        const submission = { type: modelPull.name, input: sent, title: `Pull ${body.model}`.slice(0, 255) };
        const seconds = parsePreferWait(header('prefer'));
        const refused = keyRefusals(submission, principal, '#').map(({ detail }) => ({ detail, pointer: '#/model' }));
        if (refused.length > 0) throw beyondKey(refused);
        const make = () => {
          refuse(options, body);
          const made = prepareTask(
            applyCancelAfter({ ...submission, metadata: {}, tags: [] }, header('cancel-after')),
            {
              ...{ userId: principal.userId, requestId, batchId: null, watched: seconds !== undefined, pointer: '#' },
              ...{ usualPriority: usualPriority(principal), route: modelPull.route },
            },
            options,
          );
          if ('errors' in made) throw invalid(made.errors);
          return made;
        };
        const held = await storeHeld(options, make, { key, signal, seconds }, (again, task) => {
          const object = { type: 'model', id: canonicalName(body.model) };
          const details = { task, hosts: body.hosts };
          if (!again) trail.record({ action: 'model.pull', object, details });
        });
        return answerHeld(held, { base, seconds });
      },
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/models/:name',
      summary: 'Delete a model from every host that has it',
      answers: { 204: answersNothing('No host that answers has it any more.') },
      problems: ['model_in_use', 'model_kept'],
      handle: async ({ params, principal, trail }) => {
        const { data } = await look(principal, true);
        const found = find(data, params.name);
        if (!found) throw notThere();
        const defaultIn = found.default_for.map((capability) => LANES[capability]);
        if (await hasRunning(db, canonicalName(found.name), defaultIn))
          throw new ProblemError(
            'model_in_use',
            `Tasks that use ${found.name} run now. Wait for their end, or cancel them.`,
          );
        const removals = await models.remove(found.name);
        const details = { hosts: removals.map(({ host, outcome }) => `${host} ${outcome}`) };
        trail.record({ action: 'model.delete', object: { type: 'model', id: found.name }, details });
        refuseUnlessDeleted(found, removals);
        return { status: 204 };
      },
    }),
  ];
}

function find<T extends { name: string }>(models: T[], name = ''): T | undefined {
  return models.find((one) => canonicalName(one.name) === canonicalName(name));
}

/** What can be said at once, before a task fails for it. */
function refuse({ models, config }: Options, { model, hosts = [] }: v.InferOutput<typeof modelPull.input>): void {
  const { allowed } = config.models;
  const may = allowed.length === 0 || allowed.some((one) => canonicalName(one) === canonicalName(model));
  const unknown = hosts.flatMap((host, n) =>
    models.hosts.includes(host)
      ? []
      : [{ pointer: `#/hosts/${n}`, detail: `is not a host; there are ${models.hosts.join(', ')}` }],
  );
  if (!may) throw invalid([{ pointer: '#/model', detail: `is not among OLLAMA_MODELS: ${allowed.join(', ')}` }]);
  if (unknown.length > 0) throw invalid(unknown);
}

/** @throws ProblemError where a host still has the model */
function refuseUnlessDeleted({ name }: ModelInfo, removals: Removal[]): void {
  const refused = removals.find(({ outcome }) => outcome === 'refused');
  if (refused) throw new ProblemError('model_kept', `${refused.host} does not delete ${name}: ${refused.said}`);
  const silent = removals.filter(({ outcome }) => outcome === 'away').map(({ host }) => host);
  if (silent.length > 0) throw away(`${silent.join(', ')} did not answer and may still have ${name}.`);
}

function away(detail: string, cause?: unknown): ProblemError {
  return new ProblemError('temporary-reduced-capacity', detail, { headers: { 'Retry-After': '5' }, cause });
}

function notThere(): ProblemError {
  return new ProblemError('not_found', 'No host has such a model, or your role may not use it.');
}

const PULL: v.InferInput<typeof taskShape> = {
  ...pendingExample,
  ...{ type: modelPull.name, title: 'Pull tinyllama', input: { model: 'tinyllama' }, tags: [] },
};

const PULLED: v.InferInput<typeof taskShape> = {
  ...taskExample,
  ...{ type: modelPull.name, title: PULL.title, input: PULL.input, tags: [] },
  output: { model: 'tinyllama:latest', hosts: [{ host: 'host-1', digest: '0123456789ab', size: 637_700_138 }] },
};
