import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { build } from '../support/kubernetes.ts';
import { filesUnder, ROOT } from '../support/sources.ts';

const WITH_PATCHES = filesUnder('deploy/kubernetes', /^kustomization\.yaml$/).flatMap((path) => {
  const { patches = [] } = parse(readFileSync(join(ROOT, path), 'utf8'));
  return patches.map((_: unknown, index: number) => [path.replace('deploy/kubernetes/', ''), index] as const);
});

/** kustomize says nothing of a patch whose target is not there. */
test('every patch of the manifests changes something', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sutazai-patches-'));
  try {
    cpSync(join(ROOT, 'deploy/kubernetes'), folder, { recursive: true });
    const whole = JSON.stringify(
      ['staging', 'production', 'sentinel'].map((name) => build(join(folder, 'overlays', name))),
    );
    const idle = WITH_PATCHES.filter(([path, index]) => {
      const text = readFileSync(join(folder, path), 'utf8');
      const without = parse(text);
      without.patches.splice(index, 1);
      writeFileSync(join(folder, path), stringify(without));
      // A lane shows in every overlay, and what has patches among the components in the one that is laid upon production.
      const names = path.startsWith('overlays/') ? [dirname(path)] : ['overlays/sentinel'];
      const made = names.map((name) => JSON.stringify(build(join(folder, name)))).join();
      writeFileSync(join(folder, path), text);
      return whole.includes(made);
    });
    expect(WITH_PATCHES.length).toBeGreaterThan(10);
    expect(idle).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
