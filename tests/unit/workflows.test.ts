import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { filesUnder, readText } from '../support/sources.ts';
import { before, lintWorkflows, workflowProblems } from '../support/workflow-rules.ts';

const PATHS = filesUnder('.github/workflows', /\.ya?ml$/);
const DEPLOY = readText('.github/workflows/deploy.yml');
const deploy = parse(DEPLOY);

test('actionlint finds nothing in the workflows, and finds what is wrong in spoilt ones', () => {
  const spoil: Record<string, [string, string]> = {
    'a job that waits for nobody': ['needs: staging', 'needs: stagings'],
    'an expression that a stranger can write': ['- run: .ci/run unit', '- run: echo ${{ github.head_ref }}'],
    'an output that is not there': ['needs.image.outputs.image', 'needs.image.outputs.picture'],
    'a right that is none': ['packages: write', 'package: write'],
    'an event that is none': ['pull_request:', 'pull_requests:'],
    'a step that is not there': ['steps.build.outputs.digest', 'steps.builds.outputs.digest'],
  };
  const spoilt = Object.entries(spoil).map(([name, [from, to]]) => {
    expect(DEPLOY).toContain(from);
    return [`${name}.yml`, DEPLOY.replace(from, to)];
  });
  const found = lintWorkflows({
    ...Object.fromEntries(PATHS.map((path) => [path, readText(path)])),
    ...Object.fromEntries(spoilt),
  });
  expect(found.filter((line) => line.startsWith('.github'))).toEqual([]);
  for (const name of Object.keys(spoil)) expect(found.join('\n')).toContain(`${name}.yml:`);
});

test.each(PATHS)('%s keeps the rules', (path) => {
  expect(workflowProblems(readText(path))).toEqual([]);
});

test.each<[string, string, string, string]>([
  ['an action by its tag', '@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1', '@v7', 'not pinned'],
  ['a pin that says not what it is', ' # v7.0.1', '', 'not pinned'],
  ['rights for the whole', 'permissions: {}', 'permissions: read-all', 'the whole has rights'],
  ['a job without an end', 'timeout-minutes: 20', 'continue-on-error: false', 'unit: may run for hours'],
  ['a token that stays', 'with: { persist-credentials: false }', 'with: { fetch-depth: 1 }', 'leaves a token'],
  ['an expression in a script', '"$IMAGE"', '${{ github.sha }}', 'writes an expression into a script'],
  ['a script that is not there', 'scripts/deploy/smoke.mjs', 'scripts/smoke.mjs', 'scripts/smoke.mjs is not there'],
  ['a stage that is not there', '.ci/run unit', '.ci/run units', '.ci/run has no stage units'],
])('%s is found', (_, from, to, problem) => {
  const spoilt = DEPLOY.replace(from, to);
  expect(spoilt).not.toBe(DEPLOY);
  expect(workflowProblems(spoilt).join('\n')).toContain(problem);
});

test('a change goes through all stages in their order, and to production only when somebody says so', () => {
  const tests = ['integration', 'previous', 'security', 'unit'];
  expect(before(deploy, 'image')).toEqual(tests);
  expect(before(deploy, 'e2e')).toEqual(['image', ...tests, 'staging'].sort());
  expect(before(deploy, 'production')).toEqual(['e2e', 'image', ...tests, 'staging'].sort());
  const { environment, steps } = deploy.jobs.production;
  expect(environment.name).toBe('production');
  const [watch, rollback] = steps.slice(-2);
  expect(watch.run).toMatch(/^node scripts\/deploy\/smoke\.mjs "\$URL" --for 360$/);
  expect(watch['timeout-minutes']).toBeGreaterThan(360 / 60 + 5);
  expect(rollback.run).toMatch(/^sh scripts\/deploy\/kubernetes-rollback\.sh /);
});

test('what was begun in a cluster is taken back when it fails, takes too long or is cancelled', () => {
  for (const name of ['staging', 'production']) {
    const job = deploy.jobs[name];
    const rollback = job.steps.at(-1);
    expect(rollback.run).toContain('kubernetes-rollback.sh');
    expect(rollback.if).toBe("(failure() || cancelled()) && steps.deploy.outcome != 'skipped'");
    const from = job.steps.findIndex(({ id }: { id?: string }) => id === 'deploy');
    const minutes = job.steps.slice(from).map((step: Record<string, number>) => step['timeout-minutes']);
    // A job that is out of time is given five minutes more, which are not enough.
    expect(minutes.reduce((sum: number, one: number) => sum + one, 0)).toBeLessThan(job['timeout-minutes']);
  }
});

test('a run of main holds up no other but for the time that it changes staging or production', () => {
  expect(deploy.concurrency.group).toBe('deploy-${{ github.event.pull_request.number || github.run_id }}');
  for (const name of ['staging', 'production'])
    expect(deploy.jobs[name].concurrency).toEqual({ group: name, 'cancel-in-progress': false });
});

test('who built an image is signed by a job that may do nothing else', () => {
  const { permissions, steps, if: only } = deploy.jobs.attest;
  expect(permissions).toEqual({ 'id-token': 'write', attestations: 'write' });
  expect(only).toBe("github.event_name == 'push'");
  expect(steps[0].with).toEqual({
    'subject-name': '${{ needs.image.outputs.name }}',
    'subject-digest': '${{ needs.image.outputs.digest }}',
  });
  const others = Object.entries<{ permissions: object }>(deploy.jobs).filter(([name]) => name !== 'attest');
  for (const [name, job] of others) expect(Object.keys(job.permissions), name).not.toContain('id-token');
});

test('the jobs that need the release before have it in their history', () => {
  const needed: Array<[string, string]> = [
    ['integration', '.ci/run integration e2e guard'],
    ['previous', '.ci/run previous'],
  ];
  for (const [name, command] of needed) {
    const [checkout, ...others] = deploy.jobs[name].steps;
    expect(others.map(({ run = '' }) => run).join()).toContain(command);
    expect(checkout.with['fetch-depth'], name).toBe(0);
  }
});

test('what goes out is the image that was built, by its digest, with a list of what it is made of', () => {
  const { steps, outputs } = deploy.jobs.image;
  expect(outputs.image).toContain('@${{ steps.build.outputs.digest }}');
  expect(steps.at(-1).with).toMatchObject({ provenance: 'mode=max', sbom: true });
  expect(steps.some(({ run = '' }) => /^npm sbom .*--omit dev/.test(run))).toBe(true);
  for (const job of ['staging', 'production'])
    for (const { run = '', env } of deploy.jobs[job].steps)
      if (run.includes('kubernetes')) expect(env.IMAGE).toBe('${{ needs.image.outputs.image }}');
});
