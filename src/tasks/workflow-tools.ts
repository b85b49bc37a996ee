import type { WorkflowInput } from './workflow-definition.ts';

/** What came of a workflow, and how many of its steps ended how. */
export interface WorkflowOutput {
  output: unknown;
  steps: { completed: number; skipped: number; failed: number };
}

export interface WorkflowTools {
  /**
   * Begins the workflow that the task is, and moves it on as far as it comes without waiting. Answers what came of it, and `undefined`
   * where steps are at work: the task is signalled once there are none.
   * @throws TaskError `step_failed`
   */
  run(input: WorkflowInput): Promise<WorkflowOutput | undefined>;
}
