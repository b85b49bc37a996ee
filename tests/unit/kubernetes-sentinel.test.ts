import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { build, type Resource, titleOf } from '../support/kubernetes.ts';
import { reaches } from '../support/network-policies.ts';
import { ROOT } from '../support/sources.ts';

const overlay: Resource[] = build(join(ROOT, 'deploy/kubernetes/overlays/sentinel'));
const { spec } = overlay.find((one) => titleOf(one) === 'StatefulSet redis');
const folder = mkdtempSync(join(tmpdir(), 'sutazai-sentinel-'));
afterAll(() => rmSync(folder, { recursive: true }));

writeFileSync(join(folder, 'redis_password'), 'secret==');
// They show the configuration that they are given, and answer as the test says.
writeFileSync(join(folder, 'redis-server'), '#!/bin/sh\nexec cat "$1"\n', { mode: 0o755 });
writeFileSync(
  join(folder, 'redis-cli'),
  '#!/bin/sh\ncase "$2" in "$ANSWERS_AT") echo "$ANSWER" ;; *) exit 1 ;; esac\n',
  {
    mode: 0o755,
  },
);

/** What a container of a pod tells its Redis or Sentinel, where a Sentinel gives an answer. */
function told(container: 'redis' | 'sentinel', pod: number, answer = { at: 'nowhere', says: '' }): string[] {
  const { command, env } = spec.template.spec.containers.find(({ name }: Resource) => name === container);
  const here = (text: string) => text.replaceAll('/run/secrets', folder).replaceAll(/(?<=[ >])\/sentinel/g, folder);
  const find = env.find(({ name }: Resource) => name === 'FIND_PRIMARY').value;
  return execFileSync('sh', ['-c', here(command[2])], {
    encoding: 'utf8',
    env: {
      ...{ PATH: `${folder}:${process.env.PATH}`, POD: `redis-${pod}`, FIND_PRIMARY: here(find) },
      ...{ ANSWERS_AT: answer.at, ANSWER: answer.says },
    },
  })
    .trim()
    .split('\n');
}
const primary = 'redis-2.redis';
const known = { at: 'redis-1.redis', says: `${primary}\n6379` };

test('where no Sentinel knows a primary, it is the first pod, and the others copy from it', () => {
  expect(told('redis', 0).join('\n')).not.toContain('replicaof');
  for (const pod of [1, 2]) expect(told('redis', pod)).toContain('replicaof redis-0.redis 6379');
  for (const pod of [0, 1, 2])
    expect(told('sentinel', pod)).toContain('sentinel monitor mymaster redis-0.redis 6379 2');
});

test('a pod that comes back believes any Sentinel that answers, and no error', () => {
  expect(told('redis', 0, known)).toContain(`replicaof ${primary} 6379`);
  expect(told('redis', 2, known).join('\n')).not.toContain('replicaof');
  expect(told('sentinel', 0, known)).toContain(`sentinel monitor mymaster ${primary} 6379 2`);
  const refused = { at: 'redis-1.redis', says: 'NOAUTH Authentication required.' };
  expect(told('redis', 1, refused)).toContain('replicaof redis-0.redis 6379');
});

test('a Sentinel is the same one after each start, and is told the same password as Redis', () => {
  const idOf = (pod: number) => told('sentinel', pod).find((line) => line.startsWith('sentinel myid '));
  expect(idOf(1)).toMatch(/ [0-9a-f]{40}$/);
  expect(idOf(1)).toBe(idOf(1));
  expect(new Set([0, 1, 2].map(idOf)).size).toBe(3);
  for (const line of ['requirepass secret==', 'sentinel auth-pass mymaster secret=='])
    expect(told('sentinel', 0)).toContain(line);
  for (const line of ['requirepass secret==', 'masterauth secret==', 'appendonly yes', 'maxmemory-policy noeviction'])
    expect(told('redis', 0)).toContain(line);
});

test('the product asks each of the Sentinels, and Redis and Sentinels reach each other', () => {
  const settings = overlay.find(({ kind }) => kind === 'ConfigMap').data;
  const pods = Array.from({ length: spec.replicas }, (_, pod) => `redis-${pod}.redis:26379`);
  expect(settings.REDIS_SENTINELS.split(',')).toEqual(pods);
  expect(settings.REDIS_URL_FILE).toBeUndefined();
  expect(told('sentinel', 0).join()).toContain(`sentinel monitor ${settings.REDIS_SENTINEL_NAME} `);
  const redis = { component: 'store' };
  const all = overlay.filter((one) => titleOf(one) !== 'StatefulSet ollama');
  for (const port of [6379, 26379]) {
    expect(reaches(all, redis, redis, port)).toBe(true);
    expect(reaches(all, { component: 'worker' }, redis, port)).toBe(true);
  }
  expect(reaches(all, redis, { address: '203.0.113.7' }, 443)).toBe(false);
});
