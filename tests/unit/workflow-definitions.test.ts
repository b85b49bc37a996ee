import * as v from 'valibot';
import { expect, test } from 'vitest';
import { createRegistry } from '../../src/tasks/index.ts';
import { type Definition, workflowInput } from '../../src/tasks/workflow-definition.ts';
import { cycleOf } from '../../src/workflows/cycle.ts';
import { needsOf } from '../../src/workflows/language.ts';
import { checkDefinition } from '../../src/workflows/validate.ts';

const context = {
  registry: createRegistry({ vectors: true }),
  checkUrl: (url: string) => (url.includes('10.0.0.1') ? 'leads to a private address' : undefined),
};
const echo = (id: string, more: object = {}) => ({ id, type: 'echo', input: { message: id }, ...more });

function definitionOf(...steps: object[]): Definition {
  return v.parse(workflowInput, { steps }) as Definition;
}

async function errorsOf(...steps: object[]): Promise<string[]> {
  const errors = await checkDefinition(definitionOf(...steps), '#/input', context);
  return errors.map(({ pointer, detail }) => `${pointer} ${detail}`);
}

test('a workflow with all that there is passes', async () => {
  const steps = [
    { id: 'read', type: 'http.request', input: { method: 'GET', url: '${{ input.url }}' }, retry: { max_attempts: 2 } },
    echo('parts', {
      for_each: 'json(steps.read.output.body)',
      max_parallel: 3,
      input: { message: '${{ string(index) }}: ${{ item }}' },
      compensate: { type: 'echo', input: { message: 'undo ${{ output.message }} of ${{ steps.parts.status }}' } },
      on_failure: 'compensate',
    }),
    { id: 'ask', type: 'approval', title: 'Go on?', needs: ['parts'], expires_in_seconds: 60, approvers: ['ann'] },
    echo('told', { needs: ['ask', 'ask'], when: 'size(steps.parts.output) > 1', timeout_seconds: 5, priority: 2 }),
    { id: 'sub', type: 'http.request', input: { url: 'https://example.com/', method: '${{ "GET" }}' } },
  ];
  expect(await errorsOf(...steps)).toEqual([]);
});

test.each([
  ['an id that is there twice', [echo('a'), echo('b'), echo('a')], '#/input/steps/2/id is the id of #/steps/0 already'],
  ['a type that is not there', [{ id: 'a', type: 'ehco' }], /^#\/input\/steps\/0\/type is not a task type; .*approval/],
  [
    'a type of a route',
    [{ id: 'a', type: 'task.bulk' }],
    '#/input/steps/0/type is made by POST /api/v1/tasks/bulk alone',
  ],
  [
    'a need that is not there',
    [echo('a', { needs: ['b'] })],
    '#/input/steps/0/needs/0 names a step "b" that is not there',
  ],
  [
    'a step in an expression that is not there',
    [echo('a', { when: 'steps.b.output.x' })],
    /steps\/0\/when names a step "b"/,
  ],
  [
    'a step in a text that is not there',
    [echo('a', { input: { message: 'x ${{ steps.b.output }}' } })],
    /steps\/0\/input\/message names a step "b"/,
  ],
  [
    'a step that needs itself',
    [echo('a', { input: { message: '${{ steps.a.output }}' } })],
    /input\/message is the step itself/,
  ],
  [
    'two that wait for each other',
    [echo('z'), echo('a', { needs: ['z', 'b'] }), echo('b', { when: 'steps.a.status == "completed"' })],
    '#/input/steps/1/needs/1 makes steps wait for each other: a → b → a',
  ],
  [
    'a misspelled part of a step',
    [echo('a'), echo('b', { when: 'steps.a.ouput.ok' })],
    /steps\/1\/when asks for ouput of a step/,
  ],
  ['an expression that cannot be read', [echo('a', { when: '1 +' })], /steps\/0\/when is no expression.*\(at 3\)/],
  [
    'a text that cannot be read',
    [echo('a', { input: { message: '${{ inputs.x }}' } })],
    /input\/message is no expression.*Unknown variable: inputs/,
  ],
  ['a condition that is a text', [echo('a', { when: '"yes"' })], /steps\/0\/when must give true or false, not a text/],
  ['a list that is a number', [echo('a', { for_each: '1 + 1' })], /steps\/0\/for_each must give a list, not a number/],
  ['an item without a list', [echo('a', { input: { message: '${{ item }}' } })], /input\/message names item/],
  ['an item in a condition', [echo('a', { for_each: [1], when: 'item > 1' })], /when names item/],
  ['an input that is missing', [{ id: 'a', type: 'echo' }], '#/input/steps/0/input/message is missing'],
  [
    'an input of a wrong type',
    [echo('a', { input: { message: 7 } })],
    /steps\/0\/input\/message must be string, not 7/,
  ],
  [
    'an expression that gives a number for a text',
    [echo('a', { input: { message: '${{ 1 }}' } })],
    '#/input/steps/0/input/message must be a text, not a number',
  ],
  [
    'an expression that gives a list for a text',
    [echo('a', { compensate: { type: 'echo', input: { message: '${{ [input.x] }}' } } })],
    '#/input/steps/0/compensate/input/message must be a text, not a list',
  ],
  [
    'text around an expression for a number',
    [{ id: 'a', type: 'vector.search', input: { collection: 'c', query: 'x', limit: '${{ input.n }} of them' } }],
    '#/input/steps/0/input/limit must be a number, not a text',
  ],
  [
    'a field that the type does not know',
    [echo('a', { input: { message: '${{ input.x }}', massage: 1 } })],
    '#/input/steps/0/input/massage is not known here',
  ],
  [
    'an address that may not be called',
    [{ id: 'a', type: 'http.request', input: { method: 'GET', url: 'http://10.0.0.1/' } }],
    /input\/url leads to a private/,
  ],
  [
    'what undoes it and is wrong',
    [echo('a', { compensate: { type: 'echo', input: { message: 1 } } })],
    /steps\/0\/compensate\/input\/message must be string/,
  ],
  [
    'a version of a workflow that is not known before',
    [{ id: 'a', type: 'workflow', input: { workflow: 'x', version: '${{ input.version }}' } }],
    '#/input/steps/0/input/version must be a number as it is, without expressions',
  ],
  [
    'an approval with an input',
    [{ id: 'a', type: 'approval', input: {} }],
    /steps\/0\/input does not go with the type approval/,
  ],
  ['approvers of a task', [echo('a', { approvers: ['ann'] })], /steps\/0\/approvers goes with the type approval alone/],
  ['a bound of nothing', [echo('a', { max_parallel: 2 })], /steps\/0\/max_parallel goes with for_each alone/],
])('%s is refused with its place', async (_, steps, error) => {
  const errors = await errorsOf(...steps);
  expect(errors).toHaveLength(1);
  expect(errors[0]).toEqual(typeof error === 'string' ? error : expect.stringMatching(error));
});

test('the output names steps that are there', async () => {
  const definition = {
    ...definitionOf(echo('a')),
    output: { x: ['${{ steps.b.output }}'], y: '${{ steps.a.outptu }}' },
  };
  const errors = await checkDefinition(definition, '#', context);
  expect(errors.map(({ pointer }) => pointer)).toEqual(['#/output/x/0', '#/output/y']);
});

test('what an expression gives is not known, and what it decides is not refused', async () => {
  expect(await errorsOf({ id: 'a', type: 'chat', input: '${{ input }}' })).toEqual([]);
  expect(await errorsOf({ id: 'a', type: 'chat', input: { messages: '${{ input.messages }}' } })).toEqual([]);
  expect(
    await errorsOf({ id: 'a', type: 'chat', input: { messages: [{ role: '${{ input.x }}', content: 'a' }] } }),
  ).toEqual([]);
  const wrong = await errorsOf({
    id: 'a',
    type: 'chat',
    input: { messages: [{ role: '${{ input.x }}', content: 1 }] },
  });
  expect(wrong).toEqual([expect.stringMatching(/messages\/0\/content/)]);
});

test.each([
  [{}, 'wants one of steps, workflow'],
  [{ steps: [echo('a')], workflow: 'x' }, 'wants one of steps, workflow'],
  [{ steps: [echo('a')], version: 1 }, 'has no version without workflow'],
  [{ workflow: 'x', output: 1 }, 'has no output beside workflow'],
  [{ steps: [] }, 'must hold at least one step'],
  [{ steps: [{ id: '1a', type: 'echo' }] }, /the first a letter/],
  [{ steps: [{ id: 'a', type: 'echo', need: ['b'] }] }, /never/],
  [{ steps: [{ id: 'a', type: 'echo', on_failure: 'ignore' }] }, /must be one of fail/],
  [{ steps: Array.from({ length: 10_001 }, (_, n) => ({ id: `s${n}`, type: 'echo' })) }, 'at most 10000 steps'],
])('the input %j is refused', (input, message) => {
  const { issues } = v.safeParse(workflowInput, input);
  expect(issues?.[0]?.message).toMatch(message);
});

test('what a step needs is what it says and what it names, but not what it undoes', () => {
  const step = definitionOf({
    id: 'a',
    type: 'echo',
    needs: ['b'],
    when: 'steps.c.status == "completed" && steps.b.output.x',
    input: { message: '${{ steps["d-1"].output }}' },
    compensate: { type: 'echo', input: { message: '${{ steps.a.output.message + steps.e.output }}' } },
  }).steps[0]!;
  expect([...needsOf(step)]).toEqual([
    ['b', ['needs', 0]],
    ['c', ['when']],
    ['d-1', ['input', 'message']],
    ['e', ['compensate', 'input', 'message']],
  ]);
});

test('a cycle is found wherever it is, and only where there is one', () => {
  const chain = Array.from({ length: 10_000 }, (_, n) => ({ id: `s${n}`, needs: n > 0 ? [`s${n - 1}`] : [] }));
  expect(cycleOf(chain)).toBeUndefined();
  chain[100]!.needs.push('s102');
  expect(cycleOf(chain)).toEqual(['s100', 's102', 's101']);
});

test('ten thousand steps are checked while others get their turn', async () => {
  const steps = Array.from({ length: 10_000 }, (_, n) =>
    echo(`s${n}`, n > 0 ? { needs: [`s${n - 1}`], input: { message: `\${{ steps.s${n - 1}.output.message }}` } } : {}),
  );
  const definition = definitionOf(...steps);
  let turns = 0;
  const others = setInterval(() => turns++, 1);
  expect(await checkDefinition(definition, '#', context)).toEqual([]);
  clearInterval(others);
  expect(turns).toBeGreaterThan(10);
});

test('steps with many expressions are checked while others get their turn', async () => {
  const message = `\${{ [${Array(300).fill('input.a').join(', ')}] }}`.repeat(40);
  const definition = definitionOf(...['a', 'b', 'c', 'd', 'e'].map((id) => echo(id, { input: { message } })));
  let turns = 0;
  const others = setInterval(() => turns++, 1);
  expect(await checkDefinition(definition, '#', context)).toEqual([]);
  clearInterval(others);
  expect(turns).toBeGreaterThan(2);
});
