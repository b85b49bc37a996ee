import * as v from 'valibot';
import { named } from './named.ts';
import { maxCharacters, strictObject, wholeNumber } from './schemas.ts';

/** A workflow may have so many steps, and a literal list of a fan-out so many items. */
export const MAX_STEPS = 10_000;
/** The name of the task type. */
export const WORKFLOW = 'workflow';
/** The type of a step that is no task: it waits until somebody says yes or no. */
export const APPROVAL = 'approval';

const YEAR = 31_536_000;

const stepId = v.pipe(
  v.string(),
  v.regex(
    /^[A-Za-z_][A-Za-z0-9_-]{0,99}$/,
    'must be 1–100 letters, digits, dashes or underscores, the first a letter or an underscore',
  ),
);

const typeName = v.pipe(v.string(), maxCharacters(100));
const expression = v.pipe(
  v.string(),
  v.minLength(1, 'must not be empty'),
  v.maxLength(4_096, 'must be at most 4096 characters'),
);
const described = <S extends v.GenericSchema<unknown, unknown>>(schema: S, text: string) =>
  v.pipe(schema, v.description(text));

/** One step of a workflow. What belongs together is checked by `src/workflows/validate.ts`. */
export const workflowStep = named(
  'WorkflowStep',
  strictObject({
    id: stepId,
    type: described(typeName, `A task type, or \`${APPROVAL}\`: a step that waits for a human.`),
    title: v.optional(v.pipe(v.string(), maxCharacters(255))),
    input: v.optional(described(v.unknown(), 'The input of its task; expressions stand in its texts as `${{ … }}`.')),
    needs: v.optional(
      described(
        v.pipe(v.array(v.string()), v.maxLength(MAX_STEPS, `must be at most ${MAX_STEPS} steps`)),
        'Steps that have to end before it, besides those that its expressions name.',
      ),
    ),
    when: v.optional(described(expression, 'An expression; where it gives false the step is skipped.')),
    for_each: v.optional(
      described(
        v.union(
          [expression, v.pipe(v.array(v.unknown()), v.maxLength(MAX_STEPS, `must be at most ${MAX_STEPS} items`))],
          'must be an expression that gives a list, or a list',
        ),
        'A list, or an expression that gives one: a task for each `item` of it.',
      ),
    ),
    max_parallel: v.optional(
      described(
        wholeNumber(1, 1_000),
        'How many items of `for_each` are at work at a time; all that may where it is not given.',
      ),
    ),
    retry: v.optional(strictObject({ max_attempts: wholeNumber(1, 100) })),
    timeout_seconds: v.optional(described(wholeNumber(1, 86_400), 'Of each attempt.')),
    on_failure: v.optional(v.picklist(['fail', 'continue', 'compensate'], 'must be one of fail, continue, compensate')),
    compensate: v.optional(
      described(
        strictObject({ type: typeName, input: v.optional(v.unknown()) }),
        'The task that undoes this step; its expressions also know the `output` that is undone.',
      ),
    ),
    priority: v.optional(wholeNumber(1, 10)),
    concurrency_key: v.optional(
      strictObject({
        key: v.pipe(v.string(), v.minLength(1, 'must not be empty'), maxCharacters(200)),
        limit: v.optional(wholeNumber(1, 10_000)),
      }),
    ),
    expires_in_seconds: v.optional(described(wholeNumber(1, YEAR), 'How long an approval waits.')),
    approvers: v.optional(
      described(
        v.pipe(
          v.array(v.pipe(v.string(), v.minLength(1, 'must not be empty'), maxCharacters(100))),
          v.minLength(1, 'must name at least one'),
          v.maxLength(100, 'must name at most 100'),
        ),
        'The user names of those who may decide, and nobody else; where it is not given, its owner and operators. It counts who has the account before the workflow is submitted; a name that nobody has is taken too.',
      ),
    ),
  }),
);

export type Step = v.InferOutput<typeof workflowStep>;

/** What is stored under a name, and what a task may bring along itself. */
export const definitionFields = {
  steps: v.pipe(
    v.array(workflowStep),
    v.minLength(1, 'must hold at least one step'),
    v.maxLength(MAX_STEPS, `must hold at most ${MAX_STEPS} steps`),
  ),
  output: v.optional(
    described(
      v.unknown(),
      'What the workflow gives, with expressions; where it is not given, the outputs of the last steps.',
    ),
  ),
};

export interface Definition {
  steps: Step[];
  output?: unknown;
}

export const workflowName = v.pipe(
  v.string(),
  v.regex(
    /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$/,
    'must be 1–100 letters, digits, dots, dashes or underscores, the first a letter or a digit',
  ),
);

/** The input of the task type `workflow`: steps of its own, or the name of a stored definition. */
export const workflowInput = v.pipe(
  strictObject({
    steps: v.optional(definitionFields.steps),
    output: definitionFields.output,
    workflow: v.optional(described(workflowName, 'The name of a stored workflow, in the place of `steps`.')),
    version: v.optional(described(wholeNumber(1, 2_147_483_647), 'The last one where it is not given.')),
    input: v.optional(described(v.unknown(), 'What the expressions know as `input`.')),
  }),
  v.check(({ steps, workflow }) => (steps === undefined) !== (workflow === undefined), 'wants one of steps, workflow'),
  v.check(
    ({ version, workflow }) => version === undefined || workflow !== undefined,
    'has no version without workflow',
  ),
  v.check(({ output, workflow }) => output === undefined || workflow === undefined, 'has no output beside workflow'),
);

export type WorkflowInput = v.InferOutput<typeof workflowInput>;
