import { setImmediate as breathe } from 'node:timers/promises';
import type { FieldError } from '../errors.ts';
import { ExpressionError, parseTemplate, type Template, TemplateError } from '../expressions/index.ts';
import type { TaskType } from '../tasks/define.ts';
import { APPROVAL, type Definition, type Step, WORKFLOW, type WorkflowInput } from '../tasks/workflow-definition.ts';
import { cycleOf } from './cycle.ts';
import { kindOf, misfits, touches } from './fit.ts';
import { inputOf, isApproval, needsOf, OUTPUT_LANGUAGE, type ReadStep, readStep, STEP_LANGUAGE } from './language.ts';

/** What definitions are checked against. */
export interface CheckContext {
  registry: { find(name: string): TaskType | undefined; list(): TaskType[] };
  /** What is wrong with a URL that users want to be called. */
  checkUrl: (url: string) => string | undefined;
}

/** Hears of each step with its expressions, until something is wrong. */
type OnStep = (step: Step, read: ReadStep, index: number) => void;

type Place = Array<string | number>;
type Report = (place: Place, detail: string) => void;

/** So many steps are checked before others get their turn. */
const SLICE = 100;
/** A step with many expressions takes long by itself. */
const SLICE_MS = 10;
const MAX_ERRORS = 20;
/** What an approval has besides its id and type, and what no other step has. */
const OF_APPROVALS = ['title', 'needs', 'when', 'on_failure', 'compensate', 'expires_in_seconds', 'approvers'];
const OF_APPROVALS_ALONE = ['expires_in_seconds', 'approvers'];
const OF_FAN_OUTS_ALONE = ['max_parallel'];
/** What can be asked of another step. */
const OF_STEPS = ['output', 'status', 'error'];

/**
 * What is wrong with a definition whose shape is right: ids that are there twice, types and steps that are not, expressions that
 * cannot be read, steps that wait for each other, and inputs that their task types would refuse whatever the expressions give.
 * @param base where the definition stands in the body, as a JSON pointer
 */
export async function checkDefinition(
  definition: Definition,
  base: string,
  context: CheckContext,
  onStep: OnStep = () => {},
): Promise<FieldError[]> {
  const errors: FieldError[] = [];
  const report = (place: Place, detail: string) =>
    errors.push({
      pointer: `${base}${place.map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')}`,
      detail,
    });
  const places = new Map<string, number>();
  definition.steps.forEach(({ id }, index) => {
    const first = places.get(id);
    if (first === undefined) places.set(id, index);
    else report(['steps', index, 'id'], `is the id of #/steps/${first} already`);
  });
  const needs: Array<Map<string, Place>> = [];
  let since = performance.now();
  for (const [index, step] of definition.steps.entries()) {
    if (index % SLICE === SLICE - 1 || performance.now() - since > SLICE_MS) {
      await breathe();
      since = performance.now();
    }
    if (errors.length >= MAX_ERRORS) return errors;
    const at: Report = (place, detail) => report(['steps', index, ...place], detail);
    const read = readStep(step, (error, place) => reportExpression(at, place, error));
    checkFields(step, at);
    checkMentions(step, read, at);
    checkInputs(step, read, context, at);
    if (errors.length === 0) onStep(step, read, index);
    const own = needsOf(step, read);
    for (const [id, place] of own) {
      if (id === step.id) at(place, 'is the step itself');
      else if (!places.has(id)) at(place, `names a step ${JSON.stringify(id)} that is not there`);
    }
    needs.push(own);
  }
  checkOutput(definition, places, report);
  if (errors.length > 0) return errors;
  const cycle = cycleOf(definition.steps.map(({ id }, index) => ({ id, needs: [...needs[index]!.keys()] })));
  if (cycle) {
    const [first, second = first] = cycle as [string, string?];
    const index = places.get(first) as number;
    const place = needs[index]?.get(second) ?? [];
    report(['steps', index, ...place], `makes steps wait for each other: ${[...cycle.slice(0, 9), first].join(' → ')}`);
  }
  return errors;
}

function checkFields(step: Step, report: Report): void {
  const given = Object.keys(step).filter((name) => name !== 'id' && name !== 'type');
  for (const name of given) {
    if (isApproval(step) && !OF_APPROVALS.includes(name)) report([name], `does not go with the type ${APPROVAL}`);
    if (!isApproval(step) && OF_APPROVALS_ALONE.includes(name)) report([name], `goes with the type ${APPROVAL} alone`);
    if (step.for_each === undefined && OF_FAN_OUTS_ALONE.includes(name)) report([name], 'goes with for_each alone');
  }
}

function checkMentions(step: Step, { mentions }: ReadStep, report: Report): void {
  for (const [name, wanted, list] of [
    ['when', 'bool', 'true or false'],
    ['for_each', 'list', 'a list'],
  ] as const) {
    const text = step[name];
    const type = typeof text === 'string' ? typeOf(text) : wanted;
    if (type !== undefined && type !== wanted && type !== 'dyn')
      report([name], `must give ${list}, not ${kindOf(type)}`);
  }
  for (const { root, path, place } of mentions) {
    const ofItem = root === 'item' || root === 'index';
    if (ofItem && (step.for_each === undefined || place[0] === 'when' || place[0] === 'for_each'))
      report(place, `names ${root}, which is there only in the input of a step with for_each`);
    if (root === 'steps') checkName(path, place, report);
  }
}

function checkName([, part]: string[], place: Place, report: Report): void {
  if (part !== undefined && !OF_STEPS.includes(part))
    report(place, `asks for ${part} of a step, which has ${OF_STEPS.join(', ')}`);
}

function typeOf(text: string): string | undefined {
  try {
    return STEP_LANGUAGE.parse(text).type;
  } catch {
    return undefined;
  }
}

function checkInputs(step: Step, { input, undo }: ReadStep, context: CheckContext, report: Report): void {
  if (!isApproval(step)) checkTask(step, input, [], context, report);
  if (step.compensate && undo) checkTask(step.compensate, undo, ['compensate'], context, report);
}

/** Whether there is such a type, and whether it would take the input, as far as that can be said without its expressions. */
function checkTask(
  task: { type: string; input?: unknown },
  { texts }: Pick<Template, 'texts'>,
  at: Place,
  { registry, checkUrl }: CheckContext,
  report: Report,
): void {
  const type = registry.find(task.type);
  if (!type || type.route !== undefined) {
    const names = registry.list().map(({ name }) => name);
    const detail = type
      ? `is made by ${type.route} alone`
      : `is not a task type; there are ${[...names, APPROVAL].join(', ')}`;
    return void report([...at, 'type'], detail);
  }
  const input = inputOf(task);
  const isOpen = (place: Place) => texts.some((one) => touches(one.place, place));
  if (type.name === WORKFLOW)
    checkInner(input as WorkflowInput | null, isOpen, (place, detail) => report([...at, 'input', ...place], detail));
  for (const { place, detail } of misfits(type.input, input, texts).slice(0, MAX_ERRORS))
    report([...at, 'input', ...place], detail);
  for (const field of type.urls ?? []) {
    const url = (input as Record<string, unknown> | null)?.[field];
    const wrong = typeof url === 'string' && !isOpen([field]) ? checkUrl(url) : undefined;
    if (wrong !== undefined) report([...at, 'input', field], wrong);
  }
}

/** Its own steps would be filled in as the texts of this workflow are, and which one it is has to be known before it begins. */
function checkInner(input: WorkflowInput | null, isOpen: (place: Place) => boolean, report: Report): void {
  if (input?.steps !== undefined) report(['steps'], 'must be a stored workflow here: give its name as workflow');
  else if (isOpen(['workflow'])) report(['workflow'], 'must be a name as it is, without expressions');
  else if (isOpen(['version'])) report(['version'], 'must be a number as it is, without expressions');
}

function checkOutput({ output }: Definition, places: ReadonlyMap<string, number>, report: Report): void {
  try {
    for (const { root, path, place } of parseTemplate(OUTPUT_LANGUAGE, output ?? null).references) {
      if (root !== 'steps') continue;
      if (!places.has(path[0] as string))
        report(['output', ...place], `names a step ${JSON.stringify(path[0])} that is not there`);
      checkName(path, ['output', ...place], report);
    }
  } catch (error) {
    reportExpression(report, ['output'], error);
  }
}

function reportExpression(report: Report, place: Place, error: unknown): void {
  if (!(error instanceof ExpressionError)) throw error;
  const inner = error instanceof TemplateError ? error.place : [];
  const where = error.at === undefined ? '' : ` (at ${error.at})`;
  report([...place, ...inner], `is no expression that can be read: ${error.message}${where}`);
}
