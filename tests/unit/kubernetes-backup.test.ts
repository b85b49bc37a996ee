import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { buildOverlay, type Resource } from '../support/kubernetes.ts';
import { podsOf } from '../support/kubernetes-references.ts';
import { reaches } from '../support/network-policies.ts';

const all = buildOverlay('extras');
const { owner, pod } = podsOf(all).find((one) => one.owner.kind === 'CronJob') as ReturnType<typeof podsOf>[number];
const [container] = pod.containers;

test('the nightly backup is made by the image with pg_dump, onto a volume that is there, and old ones go', () => {
  expect(container.image).toMatch(/\/sutazai-tools:/);
  expect(container.args).toEqual(['backup', '--keep', expect.stringMatching(/^[1-9]\d*$/)]);
  expect(owner.spec.concurrencyPolicy).toBe('Forbid');
  const claims = all.filter(({ kind }) => kind === 'PersistentVolumeClaim').map(({ metadata }) => metadata.name);
  const [{ name, persistentVolumeClaim }] = pod.volumes.filter((one: Resource) => one.persistentVolumeClaim);
  expect(claims).toEqual([persistentVolumeClaim.claimName]);
  const { mountPath } = container.volumeMounts.find((one: Resource) => one.name === name);
  const folder = mkdtempSync(join(tmpdir(), 'sutazai-backup-job-'));
  try {
    writeFileSync(join(folder, 'database_url'), 'postgres://sutazai:x@db.internal:5432/sutazai');
    const env = container.env.map((one: Resource) => [one.name, one.value.replace('/run/secrets', folder)]);
    const config = loadConfig({ NODE_ENV: 'production', ...Object.fromEntries(env) }, { databaseAlone: true });
    expect(config.backupDir).toBe(mountPath);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('it reaches the database, and nobody reaches it', () => {
  const backup = { component: 'backup' };
  const database = { address: '10.1.2.3' };
  expect(reaches(all, backup, database, 5432)).toBe(true);
  expect(reaches(all, backup, { namespace: 'kube-system' }, 53, 'UDP')).toBe(true);
  expect(reaches(all, backup, database, 6379)).toBe(false);
  expect(reaches(all, backup, { address: '203.0.113.7' }, 5432)).toBe(false);
  for (const component of ['gateway', 'api', 'worker']) expect(reaches(all, { component }, backup, 5432)).toBe(false);
});
