import { spawnSync } from 'node:child_process';
import { cpSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** The release before this one, whose processes run on the schema of this one while it is rolled out. */
export const PREVIOUS = {
  commit: '02fdf8f2e56b117e5597d2d908881ef1bb2ea372',
  /** The last migration that it has. */
  migration: '0007_accounts',
};

/**
 * Lays the previous release out in a folder, on the packages that are installed here. With `newSchema` its migrations are those
 * of this release, so that whatever it migrates has the schema of this one.
 * @throws Error where the history of the repository does not reach back so far
 */
export function layOut(folder: string, { newSchema = false } = {}): void {
  const archive = spawnSync('git', ['archive', PREVIOUS.commit], { cwd: ROOT, maxBuffer: 2 ** 29 });
  if (archive.status !== 0)
    throw new Error(
      `The previous release (${PREVIOUS.commit}) is not in the history here: \`git fetch origin ${PREVIOUS.commit}\` brings it.`,
    );
  const unpacked = spawnSync('tar', ['-x', '-C', folder], { input: archive.stdout });
  if (unpacked.status !== 0) throw new Error(`The previous release could not be laid out: ${unpacked.stderr}`);
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  if (!newSchema) return;
  rmSync(join(folder, 'migrations'), { recursive: true });
  cpSync(join(ROOT, 'migrations'), join(folder, 'migrations'), { recursive: true });
}

/**
 * Whether {@link layOut} would find it: a shallow clone has no history.
 * @throws Error where GitHub runs this, because there the workflow brings the history along, and who compares this release with
 * itself does not notice
 */
export function isInHistory(): boolean {
  const found = spawnSync('git', ['cat-file', '-e', `${PREVIOUS.commit}^{commit}`], { cwd: ROOT }).status === 0;
  if (!found && process.env.GITHUB_ACTIONS)
    throw new Error(
      `The previous release (${PREVIOUS.commit}) is not in the history here: the job that tests against it wants \`fetch-depth: 0\`.`,
    );
  return found;
}
