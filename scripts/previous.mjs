// `npm run test:previous`: the tests of the previous release, its own code with them, on the schema of this one.
// Words choose files, as with `npm test`; without them it is what speaks of the schema: tests/previous/chosen.ts.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chosen } from '../tests/previous/chosen.ts';
import { layOut, PREVIOUS } from '../tests/previous/release.ts';
import { ensureRedis } from './programs.mjs';

ensureRedis();
const words = process.argv.slice(2);
/** It asks whether the tests pass, not how soon. */
const UNHURRIED = ['--testTimeout=120000', '--hookTimeout=300000'];
const folder = mkdtempSync(join(tmpdir(), 'sutazai-previous-'));
let status = 1;
try {
  layOut(folder, { newSchema: true });
  console.log(`The tests of ${PREVIOUS.commit.slice(0, 7)} on the schema of this release`);
  const args = ['run', ...chosen(folder, words), ...UNHURRIED];
  ({ status } = spawnSync('vitest', args, { cwd: folder, stdio: 'inherit', shell: process.platform === 'win32' }));
} catch (error) {
  console.error(error.message);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(status ?? 1);
