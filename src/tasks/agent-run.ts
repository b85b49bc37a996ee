import * as v from 'valibot';
import { defineTask } from './define.ts';
import { maxCharacters, strictObject } from './schemas.ts';

/** How an agent or what it can do is named. */
const name = v.pipe(v.string(), v.minLength(1, 'must not be empty'), maxCharacters(100));
const ONE = 'name an agent or a capability, one of the two';

export const agentRun = defineTask({
  name: 'agent.run',
  title: 'Ask an agent',
  summary: 'Has an agent do something: one that you name, or the best of those that have a capability.',
  lane: 'agent',
  input: v.pipe(
    strictObject({
      agent: v.optional(v.pipe(name, v.description('The name of an agent of yours or a shared one, or its id.'))),
      capability: v.optional(
        v.pipe(
          name,
          v.description('What the agent has to be able to do: the healthiest, least busy, fastest is asked.'),
        ),
      ),
      input: v.pipe(v.unknown(), v.description('What the agent is given; what it takes depends on the agent.')),
    }),
    v.check(({ agent, capability }) => (agent === undefined) !== (capability === undefined), ONE),
  ),
  output: v.strictObject({
    agent: v.pipe(v.strictObject({ id: v.string(), name: v.string() }), v.description('The agent that answered.')),
    output: v.pipe(v.unknown(), v.description('What it answered, as its configuration maps it.')),
    status: v.optional(v.pipe(v.number(), v.description('The status of its answer, where that came over HTTP.'))),
    usage: v.optional(v.strictObject({ input_tokens: v.number(), output_tokens: v.number() })),
  }),
  defaults: { attempts: 5, timeoutSeconds: 300, backoff: { minMs: 1_000, maxMs: 300_000 } },
  examples: [{ agent: 'summarizer', input: { text: 'A long story.' } }],
  run: (input, tools) => tools.agents.run(input),
});
