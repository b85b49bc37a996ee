import * as v from 'valibot';
import type { VersionRow, WorkflowRow } from '../../db/workflow-definitions.ts';
import { named, sentId, sentTime } from '../../tasks/named.ts';
import { workflowStep } from '../../tasks/workflow-definition.ts';

const fields = {
  id: sentId,
  name: v.string(),
  description: v.nullable(v.string()),
  version: v.pipe(v.number(), v.integer(), v.description('The last one, which runs where none is named.')),
  step_count: v.pipe(v.number(), v.integer()),
  created_at: sentTime,
  updated_at: sentTime,
  urls: v.strictObject({ self: v.string(), versions: v.string() }),
};

const definition = {
  steps: v.array(workflowStep),
  output: v.nullable(
    v.pipe(v.unknown(), v.description('The template of its output; null where that is the outputs of the last steps.')),
  ),
};

/** A stored workflow in a list. */
export const workflowLine = named('WorkflowLine', v.strictObject(fields));

/** A stored workflow with the definition of its last version. */
export const workflow = named('Workflow', v.strictObject({ ...fields, ...definition }));

const versionFields = {
  id: sentId,
  name: v.string(),
  version: v.pipe(v.number(), v.integer()),
  step_count: v.pipe(v.number(), v.integer()),
  created_by: v.pipe(v.string(), v.description('The name of the user who made it.')),
  created_at: sentTime,
};

export const versionLine = named('WorkflowVersionLine', v.strictObject(versionFields));

export const version = named('WorkflowVersion', v.strictObject({ ...versionFields, ...definition }));

/** A workflow as its owner sees it in a list. */
export function presentWorkflow(row: WorkflowRow, base: string): v.InferOutput<typeof workflowLine> {
  const { user_id: _, ...shown } = row;
  const self = `${base}/api/v1/workflows/${row.name}`;
  return { ...shown, urls: { self, versions: `${self}/versions` } };
}

/** What is in a version. */
export function presentDefinition({ definition: { steps, output } }: Pick<VersionRow, 'definition'>) {
  return { steps, output: output ?? null };
}

const stepExamples: v.InferInput<typeof workflowStep>[] = [
  { id: 'hello', type: 'echo', input: { message: 'hello ${{ input.name }}' } },
  { id: 'again', type: 'echo', input: { message: '${{ steps.hello.output.message }}, again' } },
];

export const workflowBodyExample = { name: 'greeting', description: 'Says hello twice', steps: stepExamples };

export const workflowLineExample: v.InferInput<typeof workflowLine> = {
  id: '01980000-0000-7000-8000-000000000070',
  name: 'greeting',
  description: 'Says hello twice',
  version: 1,
  step_count: 2,
  created_at: '2030-01-30T09:00:00.000Z',
  updated_at: '2030-01-30T09:00:00.000Z',
  urls: {
    self: 'https://queue.example.com/api/v1/workflows/greeting',
    versions: 'https://queue.example.com/api/v1/workflows/greeting/versions',
  },
};

export const workflowExample = { ...workflowLineExample, steps: stepExamples, output: null };

export const versionLineExample: v.InferInput<typeof versionLine> = {
  id: '01980000-0000-7000-8000-000000000071',
  name: 'greeting',
  version: 1,
  step_count: 2,
  created_by: 'ann',
  created_at: '2030-01-30T09:00:00.000Z',
};

export const versionExample = { ...versionLineExample, steps: stepExamples, output: null };
