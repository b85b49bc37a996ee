import { LRUCache } from 'lru-cache';
import type { Db } from '../db/connect.ts';
import { loadDefinition } from '../db/workflow-definitions.ts';
import type { FieldError } from '../errors.ts';
import { ExpressionError } from '../expressions/index.ts';
import { APPROVAL, type Definition, type Step, WORKFLOW, type WorkflowInput } from '../tasks/workflow-definition.ts';
import { MAX_DEPTH } from '../workflows/children.ts';
import { type CheckContext, checkDefinition } from '../workflows/validate.ts';
import { lackOf, type Want, wantsOf, wantsOfStep } from '../workflows/wants.ts';
import { keyRefusals } from './key-limits.ts';
import type { Principal } from './route.ts';
import type { Submission } from './submit.ts';
import { unknownNames } from './workflow-names.ts';

interface Asked {
  db: Db;
  userId: string;
  /** Who submits it, where somebody does: with an API key that may not do everything, or a role that may not use all models. */
  principal?: Principal | undefined;
}

/** What is wrong with a workflow, and what its submitter may not have done by it. */
export interface Verdict {
  errors: FieldError[];
  refused: FieldError[];
}

type Found = Awaited<ReturnType<typeof loadDefinition>>;

interface Walk extends Verdict {
  asked: Asked;
  context: CheckContext;
  depth: number;
  /** What was looked for under which name and version. */
  found: Map<string, Promise<Found>>;
  /** How deep each version was looked into. */
  seen: Map<string, number>;
  /** Those that it is inside of. */
  within: readonly string[];
}

/** So many errors are told of. */
const MAX_ERRORS = 20;
/** What stored versions want, which never changes; together so many wants. */
const known = new LRUCache<string, Want[]>({ maxSize: 200_000, sizeCalculation: (wants) => wants.length + 1 });

interface Task {
  type: string;
  priority?: number | undefined;
  input?: unknown;
}

/**
 * Looks at those submissions that are workflows, and whose inputs fit that type: at the steps that they bring along, or at the
 * stored definition that they name. `inputs` are what is to be stored in the place of theirs, by the index of the submission:
 * who names no version gets the last one of now.
 */
export async function checkWorkflows(
  given: ReadonlyArray<{ submission: Pick<Submission, 'type' | 'input'>; pointer: string }>,
  asked: Asked,
  context: CheckContext,
): Promise<Verdict & { inputs: Map<number, unknown> }> {
  const inputs = new Map<number, unknown>();
  const walk = startWalk(asked, context);
  for (const [index, { submission, pointer }] of given.entries()) {
    const input = submission.input as WorkflowInput | null;
    // What was deleted is gone, and is nothing to look at.
    if (submission.type !== WORKFLOW || input === null) continue;
    const version = await checkRun(input, `${pointer}/input`, walk);
    if (version !== undefined) inputs.set(index, { ...input, version });
  }
  return { errors: walk.errors, refused: walk.refused, inputs };
}

/** The same for a definition that is to be stored as this version, which is then the last of its name. */
export async function checkStored(
  definition: Definition,
  { name, version }: { name: string; version: number },
  asked: Asked,
  context: CheckContext,
): Promise<Verdict> {
  const walk = { ...startWalk(asked, context), within: [`${name}@${version}`] };
  walk.found.set(`${name}@undefined`, Promise.resolve({ id: '', definition, version }));
  await checkOwn(definition, '#', walk);
  return walk;
}

function startWalk(asked: Asked, context: CheckContext): Walk {
  return { asked, context, depth: 1, errors: [], refused: [], found: new Map(), seen: new Map(), within: [] };
}

/** Answers the version that was found of a stored one. */
async function checkRun(input: WorkflowInput, at: string, walk: Walk): Promise<number | undefined> {
  const { steps, output, workflow = '', version } = input;
  // What one inside of another is given is made by its step.
  const given = walk.depth === 1 ? { input: input.input } : undefined;
  if (steps) return void (await checkOwn({ steps, output }, at, walk, given));
  // What was stored by an earlier version may name it by an expression.
  if (typeof workflow !== 'string' || (version !== undefined && !Number.isSafeInteger(version)))
    return void walk.errors.push({
      pointer: at,
      detail: 'names no workflow and version that are known before it runs',
    });
  const found = await find(walk, workflow, version);
  if (found) {
    await checkUse(found.definition, `${workflow}@${found.version}`, `${at}/workflow`, walk);
    if (given && walk.errors.length === 0) await checkGiven(given.input, found, at, walk);
    return found.version;
  }
  const last = version === undefined ? undefined : await find(walk, workflow);
  const detail = last
    ? `is not a version of ${workflow}; the last is ${last.version}`
    : 'is not the name of a stored workflow';
  walk.errors.push({ pointer: `${at}/${last ? 'version' : 'workflow'}`, detail });
  return undefined;
}

/** Whether a stored workflow finds in its input what its steps take straight from it. */
async function checkGiven(input: unknown, found: NonNullable<Found>, at: string, walk: Walk): Promise<void> {
  try {
    for (const want of await wantsOfVersion(found)) {
      const lack = walk.errors.length < MAX_ERRORS ? lackOf(want, input) : undefined;
      const detail = `is not what the step ${want.step} wants: its ${want.place.join('.')} ${lack}`;
      if (lack !== undefined) walk.errors.push({ pointer: `${at}/input`, detail });
    }
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    const detail = `has an expression that cannot be read any more (${error.message}); store it again`;
    walk.errors.push({ pointer: `${at}/workflow`, detail });
  }
}

async function wantsOfVersion({ id, definition }: NonNullable<Found>): Promise<Want[]> {
  const wants = known.get(id) ?? (await wantsOf(definition));
  known.set(id, wants);
  return wants;
}

function find({ asked: { db, userId }, found }: Walk, workflow: string, version?: number): Promise<Found> {
  const key = `${workflow}@${version}`;
  const loading = found.get(key) ?? loadDefinition(db, userId, { workflow, version });
  found.set(key, loading);
  return loading;
}

/**
 * Steps that somebody brings along: whether they are good, and whether each may be asked for.
 * @param given the input that they run with, where that is known
 */
async function checkOwn(definition: Definition, at: string, walk: Walk, given?: { input: unknown }): Promise<void> {
  const { principal } = walk.asked;
  const wants: Want[] = [];
  const errors = await checkDefinition(definition, at, walk.context, (step, read, index) => {
    if (given) wants.push(...wantsOfStep(step, read, index));
  });
  walk.errors.push(...errors);
  if (walk.errors.length > 0) return;
  for (const [index, step] of definition.steps.entries())
    for (const [place, task] of tasksOf(step)) {
      const pointer = `${at}/steps/${index}${place}`;
      if (principal) walk.refused.push(...keyRefusals(task, principal, pointer));
      const inner: Walk = { ...walk, depth: walk.depth + 1 };
      if (task.type === WORKFLOW) await checkRun(task.input as WorkflowInput, `${pointer}/input`, inner);
    }
  if (walk.errors.length > 0) return;
  walk.errors.push(...(await unknownNames(definition, at, walk.asked)).slice(0, MAX_ERRORS));
  for (const want of wants) {
    const lack = walk.errors.length < MAX_ERRORS ? lackOf(want, given?.input) : undefined;
    const place = want.place.map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
    if (lack !== undefined) walk.errors.push({ pointer: `${at}/steps/${want.index}${place}`, detail: lack });
  }
}

/** Steps that were stored before, and were good then; what is wrong with them stands where they are named. */
async function checkUse(definition: Definition, key: string, pointer: string, walk: Walk): Promise<void> {
  const { principal } = walk.asked;
  if (walk.within.includes(key)) {
    walk.errors.push({ pointer, detail: 'would run itself without end' });
    return;
  }
  if ((walk.seen.get(key) ?? 0) >= walk.depth) return;
  walk.seen.set(key, walk.depth);
  if (walk.depth > MAX_DEPTH) {
    walk.errors.push({ pointer, detail: `has workflows in workflows deeper than ${MAX_DEPTH} levels` });
    return;
  }
  for (const step of definition.steps)
    for (const [, task] of tasksOf(step)) {
      const refused = principal ? keyRefusals(task, principal, '') : [];
      for (const one of refused)
        walk.refused.push({ pointer, detail: `has the step ${step.id}, whose ${one.pointer.slice(1)} ${one.detail}` });
      if (task.type !== WORKFLOW) continue;
      const inner: Walk = { ...walk, errors: [], depth: walk.depth + 1, within: [...walk.within, key] };
      await checkRun(task.input as WorkflowInput, pointer, inner);
      for (const { detail } of inner.errors)
        walk.errors.push({ pointer, detail: `has the step ${step.id}, which ${detail}` });
    }
}

function tasksOf(step: Step): Array<[place: string, Task]> {
  const tasks: Array<[string, Task]> = step.type === APPROVAL ? [] : [['', step]];
  return step.compensate ? [...tasks, ['/compensate', step.compensate]] : tasks;
}
