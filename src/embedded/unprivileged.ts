import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { UsageError } from '../errors.ts';

/** Starts programs as a user that is not root, because Postgres refuses to run as root. */
export interface Launcher {
  spawn(file: string, args: string[], options: SpawnOptions): ChildProcess;
  /** The user it runs as; `undefined` is our own. */
  uid: number | undefined;
  gid: number | undefined;
}

/**
 * Where we are root: as the owner of the directory, else as `postgres`, else as `nobody`. Where that user cannot enter
 * the folders above (a clone below a private home, say), it is given the one capability to do so instead of changing
 * permissions of folders that are not ours.
 */
export async function unprivilegedLauncher(dataDir: string, binary: string): Promise<Launcher> {
  if (process.getuid?.() !== 0) return { spawn, uid: undefined, gid: undefined };
  const { uid, gid } = await chooseUser(dataDir);
  if ((await canEnter(dirname(dataDir), uid, gid)) && (await canEnter(dirname(binary), uid, gid))) {
    return { uid, gid, spawn: (file, args, options) => spawn(file, args, { ...options, uid, gid }) };
  }
  if (spawnSync('setpriv', ['--version']).status !== 0) {
    throw new UsageError(
      `Postgres may not run as root, and the user it would run as cannot enter ${dirname(dataDir)} or ${dirname(binary)}. Put the project below a folder that everybody may enter, such as /opt or /srv, or set DATABASE_URL.`,
    );
  }
  const capability = '+dac_override,+dac_read_search';
  const prefix = [
    `--reuid=${uid}`,
    `--regid=${gid}`,
    '--clear-groups',
    // access(2), by which initdb looks for its programs, otherwise leaves the capabilities out.
    '--securebits=+no_setuid_fixup',
    `--inh-caps=${capability}`,
    `--ambient-caps=${capability}`,
    '--',
  ];
  return { uid, gid, spawn: (file, args, options) => spawn('setpriv', [...prefix, file, ...args], options) };
}

async function chooseUser(dataDir: string): Promise<{ uid: number; gid: number }> {
  const owner = await stat(dataDir).catch(() => undefined);
  if (owner && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  for (const name of ['postgres', 'nobody']) {
    const user = lines.find(([known]) => known === name);
    if (user) return { uid: Number(user[2]), gid: Number(user[3]) };
  }
  throw new UsageError(
    'Postgres may not run as root, and this machine has neither a user postgres nor nobody. Start as another user, or set DATABASE_URL.',
  );
}

async function canEnter(path: string, uid: number, gid: number): Promise<boolean> {
  for (let at = path; ; at = dirname(at)) {
    const info = await stat(at).catch(() => undefined);
    if (info) {
      const bits = info.uid === uid ? info.mode >> 6 : info.gid === gid ? info.mode >> 3 : info.mode;
      // What is made below takes our own owner later; only its parents count.
      if ((bits & 0o1) === 0) return false;
    }
    if (at === dirname(at)) return true;
  }
}
