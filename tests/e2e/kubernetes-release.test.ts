import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { findKubectl } from '../support/kubernetes.ts';
import { ROOT } from '../support/sources.ts';

const folder = mkdtempSync(join(tmpdir(), 'sutazai-release-'));
const log = join(folder, 'log');
const DIGEST = `sha256:${'1'.repeat(64)}`;
const CONDITIONS = '--output jsonpath={.status.conditions[?(@.status=="True")].type}';
const IMAGE = `registry.example.com:5000/sutazai@${DIGEST}`;

afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => writeFileSync(log, ''));

/** A kubectl that builds for real, writes down what else it is asked for, and does what the test says then. */
function run(script: string, args: string[], then = ''): { status: number | null; stderr: string; calls: string[] } {
  const program = [
    '#!/bin/sh',
    `if [ "$1" = kustomize ]; then exec '${findKubectl()}' "$@"; fi`,
    `echo "$*" >>'${log}'`,
    `case "$*" in *--filename*) cp "$(echo "$*" | sed 's/.*--filename \\([^ ]*\\).*/\\1/')" '${folder}/applied.yaml' ;; esac`,
    then,
  ];
  writeFileSync(join(folder, 'kubectl'), program.join('\n'), { mode: 0o755 });
  writeFileSync(join(folder, 'sleep'), '#!/bin/sh\n', { mode: 0o755 });
  const { status, stderr } = spawnSync('sh', [join(ROOT, 'scripts/deploy', script), ...args], {
    encoding: 'utf8',
    env: { PATH: `${folder}:${process.env.PATH}` },
  });
  const calls = readFileSync(log, 'utf8').trim().split('\n');
  return { status, stderr, calls: calls.map((call) => call.replace(/--filename \S+ ?/, '')) };
}

test('a release brings migrations, then workers, then the rest, all of the given image, and leaves no files behind', () => {
  // Asked for the first time, the Job still runs.
  const later = `if [ -e '${folder}/asked' ]; then echo 'SuccessCriteriaMet Complete'; else touch '${folder}/asked'; fi`;
  const then = `case "$*" in *"get job"*) ${later} ;; esac`;
  const { status, stderr, calls } = run('kubernetes.sh', ['staging', IMAGE], then);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const of = '--selector app.kubernetes.io/component';
  const inside = '--namespace sutazai-staging';
  expect(calls.map((call) => call.trim())).toEqual([
    `apply ${of} in (settings, store)`,
    `${inside} delete job migrate --ignore-not-found --wait`,
    `apply ${of}=migrate`,
    `${inside} get job migrate ${CONDITIONS}`,
    `${inside} get job migrate ${CONDITIONS}`,
    `apply ${of}=worker`,
    `${inside} rollout status deployment ${of}=worker --timeout 15m`,
    'apply',
    `${inside} rollout status deployment ${of} in (api, gateway) --timeout 15m`,
  ]);
  const applied = parseAllDocuments(readFileSync(join(folder, 'applied.yaml'), 'utf8')).map((one) => one.toJS());
  const pods = applied.flatMap(({ spec }) => spec?.template?.spec ?? []);
  const images = pods.flatMap(({ initContainers = [], containers }) => [...initContainers, ...containers]);
  const ours = images.map(({ image }) => image as string).filter((image) => image.includes('sutazai'));
  expect(ours).toHaveLength(9);
  expect(new Set(ours)).toEqual(new Set([IMAGE]));
  // What is applied by selector before the rest, and what the migrations need, has to be among it.
  const components = applied.map(({ metadata }) => metadata.labels['app.kubernetes.io/component']);
  expect(
    components.filter((one) => !['settings', 'store', 'migrate', 'worker', 'api', 'gateway'].includes(one)),
  ).toEqual([]);
  expect(readdirSync(join(ROOT, 'deploy/kubernetes')).filter((name) => name.startsWith('release-'))).toEqual([]);
});

test('migrations that fail stop a release before anything else is changed', () => {
  const { status, stderr, calls } = run(
    'kubernetes.sh',
    ['production', IMAGE],
    `case "$*" in *"get job"*) echo 'FailureTarget Failed' ;; esac`,
  );
  expect(status).toBe(1);
  expect(stderr).toContain('nothing else was changed');
  expect(calls.at(-1)).toBe('--namespace sutazai logs job/migrate --tail 50');
  expect(calls.join()).not.toContain('component=worker');
});

test('taking a version back leaves alone what it did not get to', () => {
  const running = `echo 'api  ${IMAGE}'; echo 'gateway ${IMAGE} kong:3.9'; echo 'older  registry.example.com:5000/sutazai:1'`;
  const workers = `echo 'worker-llm  ${IMAGE}'; echo 'worker-embed  registry.example.com:5000/sutazai:1'`;
  const then = `case "$*" in *"get deployment"*worker*) ${workers} ;; *"get deployment"*) ${running} ;; esac`;
  const { status, calls } = run('kubernetes-rollback.sh', ['sutazai', IMAGE], then);
  expect(status).toBe(0);
  const changed = calls
    .filter((call) => call.includes('rollout'))
    .map((call) => call.replace('--namespace sutazai ', ''));
  expect(changed).toEqual([
    ...['api', 'gateway'].map((name) => `rollout undo deployment/${name}`),
    ...['api', 'gateway'].map((name) => `rollout status deployment/${name} --timeout 15m`),
    'rollout undo deployment/worker-llm',
    'rollout status deployment/worker-llm --timeout 15m',
  ]);
});

test.each([
  ['no overlay', [], 'overlays: production sentinel staging'],
  ['an overlay that is not there', ['test', IMAGE], 'overlays: production sentinel staging'],
  ['an image without a version', ['staging', 'registry.example.com/sutazai'], 'wants a digest or a tag'],
  [
    'an image of a registry with a port, without a version',
    ['staging', 'localhost:5000/sutazai'],
    'wants a digest or a tag',
  ],
])('%s is refused', (_, args, message) => {
  const { status, stderr } = run('kubernetes.sh', args);
  expect(status).toBe(1);
  expect(stderr).toContain(message);
});
