import * as v from 'valibot';
import { defineTask } from './define.ts';
import { workflowInput } from './workflow-definition.ts';

const count = v.pipe(v.number(), v.integer(), v.minValue(0));

export const workflow = defineTask({
  name: 'workflow',
  title: 'Workflow',
  summary:
    'Runs steps that need each other, each as a task: with conditions, for each item of a list, undone where one fails.',
  lane: 'system',
  input: workflowInput,
  output: v.strictObject({
    output: v.unknown(),
    steps: v.strictObject({ completed: count, skipped: count, failed: count }),
  }),
  // An attempt only begins what may begin, so it is short; how long all of it may take, `expires_in_seconds` says.
  defaults: { attempts: 5, timeoutSeconds: 600, backoff: { minMs: 1_000, maxMs: 60_000 } },
  examples: [
    {
      steps: [
        { id: 'greet', type: 'echo', input: { message: 'Hello, ${{ input.name }}' } },
        {
          id: 'repeat',
          type: 'echo',
          for_each: ['one', 'two'],
          input: { message: '${{ steps.greet.output.message }} ${{ item }}' },
        },
      ],
      input: { name: 'world' },
    },
  ],
  async run(input, tools) {
    // Whoever ends the last step signals the task.
    return (await tools.workflows.run(input)) ?? tools.park('steps');
  },
});
