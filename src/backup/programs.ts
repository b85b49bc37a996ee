import { execFile, spawn } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { UsageError } from '../errors.ts';

/** A program of Postgres that is there. */
export interface Program {
  file: string;
  /** Such as 18.4. */
  version: string;
}

/** What programs of Postgres get beside their arguments. */
export type Environment = Record<string, string | undefined>;

/** Where packages of Debian and of Red Hat put several versions beside each other. */
const FOLDERS = [
  { parent: '/usr/lib/postgresql', below: (version: string) => `/usr/lib/postgresql/${version}/bin` },
  { parent: '/usr', below: (name: string) => (/^pgsql-\d+$/.test(name) ? `/usr/${name}/bin` : undefined) },
];

/**
 * Finds `pg_dump` or `pg_restore`: of those on the PATH and in the usual folders the one nearest to the server, because what a
 * much newer one writes an older server may not take.
 * @param major that of the server: an older program does not read a newer server
 * @throws UsageError that says what there is and what to install
 */
export async function findProgram(name: 'pg_dump' | 'pg_restore', major: number, env: Environment): Promise<Program> {
  const found: Program[] = [];
  // That on the PATH comes last: Debian's is a wrapper, which chooses a version itself.
  for (const file of [...(await candidates(name)), name]) {
    const version = await versionOf(file, env);
    if (version !== undefined) found.push({ file, version });
  }
  const [best] = found
    .filter(({ version }) => majorOf(version) >= major)
    .sort((a, b) => majorOf(a.version) - majorOf(b.version));
  if (best) return best;
  const list = found.map(({ file, version }) => `${version} (${file})`);
  const there = found.length > 0 ? `found ${list.join(', ')}, which is older` : 'there is none on the PATH';
  throw new UsageError(
    `Postgres ${major} wants ${name} ${major} or newer, and ${there}. Install it (Debian: \`apt-get install postgresql-client-${major}\`, from https://apt.postgresql.org where Debian's own is older). docs/backup.md says more.`,
  );
}

/** The first number of a version. */
export function majorOf(version: string): number {
  return Number.parseInt(version, 10);
}

async function candidates(name: string): Promise<string[]> {
  const all = await Promise.all(
    FOLDERS.map(async ({ parent, below }) => {
      const names = await readdir(parent).catch((): string[] => []);
      return names.flatMap((one) => below(one) ?? []);
    }),
  );
  return all.flat().map((folder) => `${folder}/${name}`);
}

async function versionOf(file: string, env: Environment): Promise<string | undefined> {
  const { stdout } = await promisify(execFile)(file, ['--version'], { env }).catch(() => ({ stdout: '' }));
  return /\(PostgreSQL\) (\d+[\w.]*)/.exec(stdout)?.[1];
}

/**
 * Runs a program of Postgres to its end.
 * @param hear gets each line that it says
 * @throws UsageError with the last of what it said where it fails
 */
export async function runProgram(
  { file }: Program,
  args: string[],
  { env, signal, hear }: { env: Environment; signal: AbortSignal; hear?: (line: string) => void },
): Promise<string[]> {
  const child = spawn(file, args, { env, signal, stdio: ['ignore', 'pipe', 'pipe'] });
  const printed: string[] = [];
  const said: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => printed.push(line));
  createInterface({ input: child.stderr }).on('line', (line) => {
    hear?.(line);
    said.push(line);
    if (said.length > 20) said.shift();
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code === 0) return printed;
  const wrong = said.filter((line) => /error|fatal|warning/i.test(line));
  throw new UsageError(`${file} ended with ${code}: ${(wrong.length > 0 ? wrong : said).slice(-3).join(' ')}`);
}

/** How programs of Postgres reach a database: the password goes through the environment, where no list of processes shows it. */
export function connectionOf(databaseUrl: string, env: Environment): { dbname: string; env: Environment } {
  const url = new URL(databaseUrl);
  const password = decodeURIComponent(url.password);
  url.password = '';
  // Words of the driver that the programs do not know.
  for (const name of ['ssl', 'uselibpqcompat']) url.searchParams.delete(name);
  if (url.searchParams.get('sslmode') === 'no-verify') url.searchParams.set('sslmode', 'require');
  return { dbname: url.href, env: { ...env, ...(password ? { PGPASSWORD: password } : {}), LC_ALL: 'C' } };
}
