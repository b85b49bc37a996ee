import type { Db } from '../../db/connect.ts';
import { loadDefinition } from '../../db/workflow-definitions.ts';
import { TaskError } from '../../errors.ts';
import type { Tools } from '../../tasks/tools.ts';
import type { Definition } from '../../tasks/workflow-definition.ts';
import type { Workflows } from '../../workflows/engine.ts';
import { runWorkflow } from '../../workflows/run.ts';
import type { Attempt } from '../attempt.ts';

interface Options {
  db: Db;
  workflows: Workflows;
  maxOutputBytes: number;
}

/** The steps of a workflow, as an attempt of its task has them. */
export function workflowTools({ task }: Attempt, { db, workflows, maxOutputBytes }: Options): Tools['workflows'] {
  return {
    run({ steps, output, workflow, version, input }) {
      const define = async (): Promise<Definition> => {
        if (steps) return { steps, ...(output === undefined ? {} : { output }) };
        const found = workflow && (await loadDefinition(db, task.user_id, { workflow, version }));
        if (found) return found.definition;
        throw new TaskError('invalid_input', `There is no workflow ${workflow} of yours, or not in that version.`);
      };
      return runWorkflow({ taskId: task.id, input, define }, { db, workflows, maxOutputBytes });
    },
  };
}
