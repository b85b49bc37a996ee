import type { Db } from '../db/connect.ts';
import { loadDefinition } from '../db/workflow-definitions.ts';
import type { FieldError } from '../errors.ts';
import { APPROVAL, type Definition, type Step, WORKFLOW, type WorkflowInput } from '../tasks/workflow-definition.ts';
import { MAX_DEPTH } from '../workflows/children.ts';
import { type CheckContext, checkDefinition } from '../workflows/validate.ts';
import { keyRefusals } from './key-limits.ts';
import type { Principal } from './route.ts';
import type { Submission } from './submit.ts';

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
}

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

/** The same for a definition that is to be stored. */
export async function checkStored(definition: Definition, asked: Asked, context: CheckContext): Promise<Verdict> {
  const walk = startWalk(asked, context);
  await checkOwn(definition, '#', walk);
  return walk;
}

function startWalk(asked: Asked, context: CheckContext): Walk {
  return { asked, context, depth: 1, errors: [], refused: [], found: new Map(), seen: new Map() };
}

/** Answers the version that was found of a stored one. */
async function checkRun(input: WorkflowInput, at: string, walk: Walk): Promise<number | undefined> {
  const { steps, output, workflow = '', version } = input;
  if (steps) return void (await checkOwn({ steps, output }, at, walk));
  const found = await find(walk, workflow, version);
  if (found) {
    await checkUse(found.definition, `${workflow}@${found.version}`, `${at}/workflow`, walk);
    return found.version;
  }
  const known = version === undefined ? undefined : await find(walk, workflow);
  const detail = known
    ? `is not a version of ${workflow}; the last is ${known.version}`
    : 'is not the name of a stored workflow';
  walk.errors.push({ pointer: `${at}/${known ? 'version' : 'workflow'}`, detail });
  return undefined;
}

function find({ asked: { db, userId }, found }: Walk, workflow: string, version?: number): Promise<Found> {
  const key = `${workflow}@${version}`;
  const loading = found.get(key) ?? loadDefinition(db, userId, { workflow, version });
  found.set(key, loading);
  return loading;
}

/** Steps that somebody brings along: whether they are good, and whether each may be asked for. */
async function checkOwn(definition: Definition, at: string, walk: Walk): Promise<void> {
  const { principal } = walk.asked;
  walk.errors.push(...(await checkDefinition(definition, at, walk.context)));
  if (walk.errors.length > 0) return;
  for (const [index, step] of definition.steps.entries())
    for (const [place, task] of tasksOf(step)) {
      const pointer = `${at}/steps/${index}${place}`;
      if (principal) walk.refused.push(...keyRefusals(task, principal, pointer));
      const inner: Walk = { ...walk, depth: walk.depth + 1 };
      if (task.type === WORKFLOW) await checkRun(task.input as WorkflowInput, `${pointer}/input`, inner);
    }
}

/** Steps that were stored before, and were good then; what is wrong with them stands where they are named. */
async function checkUse(definition: Definition, key: string, pointer: string, walk: Walk): Promise<void> {
  const { principal } = walk.asked;
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
      const inner: Walk = { ...walk, errors: [], depth: walk.depth + 1 };
      await checkRun(task.input as WorkflowInput, pointer, inner);
      for (const { detail } of inner.errors)
        walk.errors.push({ pointer, detail: `has the step ${step.id}, which ${detail}` });
    }
}

function tasksOf(step: Step): Array<[place: string, Task]> {
  const tasks: Array<[string, Task]> = step.type === APPROVAL ? [] : [['', step]];
  return step.compensate ? [...tasks, ['/compensate', step.compensate]] : tasks;
}
