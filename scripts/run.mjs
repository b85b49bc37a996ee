// Installs what is missing, then runs the product or a tool of the repository on the Node that it was made for.
// Plain JavaScript without dependencies, because it has to run on Node 20 before anything is installed.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const modules = join(root, 'node_modules');
const stamp = join(modules, '.sutazai-installed');
const windows = process.platform === 'win32';
const brought = join(modules, 'node', 'bin', windows ? 'node.exe' : 'node');
/** How soon we see that whoever started us is gone. */
const LOOK_MS = 500;

function fail(text) {
  console.error(text);
  process.exit(1);
}

function lockHash() {
  return createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
}

/** Whether somebody installed without the development dependencies, on purpose. */
function isProductionInstall() {
  const made = existsSync(join(modules, '.package-lock.json'));
  return made && !existsSync(stamp) && !existsSync(join(modules, 'vitest'));
}

/** Whether somebody ran `npm ci` already: what npm says that it installed is what the lock file names, but for other platforms. */
function isComplete() {
  try {
    const packagesOf = (path) => JSON.parse(readFileSync(path, 'utf8')).packages;
    const { '': _, ...wanted } = packagesOf(join(root, 'package-lock.json'));
    const there = packagesOf(join(modules, '.package-lock.json'));
    const isThere = ([path, one]) =>
      there[path] ? there[path].version === one.version && there[path].integrity === one.integrity : isForOthers(one);
    return existsSync(brought) && Object.entries(wanted).every(isThere);
  } catch {
    return false;
  }
}

/** An optional package that names no platform is a part of one that does; which libc is ours only npm knows. */
function isForOthers({ optional, os, cpu, libc }) {
  if (!optional) return false;
  return libc !== undefined || !os || !cpu || !os.includes(process.platform) || !cpu.includes(process.arch);
}

/** Runs `npm ci` where node_modules is not what the lock file says. */
function install(tool) {
  const wanted = lockHash();
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  if (isComplete()) return writeFileSync(stamp, wanted);
  if (isProductionInstall()) {
    if (!tool) return;
    fail('This is an install without development dependencies, which the tests and tools need. Run `npm ci` first.');
  }
  console.error('Installing what package-lock.json names (about 700 MB, once) …');
  const started = Date.now();
  const npm = spawnSync(windows ? 'npm.cmd' : 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: windows,
  });
  if (npm.status !== 0) {
    fail(
      'npm ci failed; its message is above. Is the registry reachable, and is there room on the disk? Then run the same command again.',
    );
  }
  mkdirSync(modules, { recursive: true });
  writeFileSync(stamp, wanted);
  console.error(`Installed in ${Math.round((Date.now() - started) / 1000)} s.`);
}

/** Node 24 comes with the development dependencies; a newer one on the machine does as well. */
function node() {
  if (existsSync(brought)) return brought;
  if (Number(process.versions.node.split('.')[0]) >= 24) return process.execPath;
  fail(
    `SutazAI runs on Node 24 or newer, and this is ${process.version}. Install Node 24, or run \`npm ci\` with the development dependencies, which bring it.`,
  );
}

function start(args) {
  const path = [join(modules, '.bin'), join(modules, 'node', 'bin'), process.env.PATH].join(delimiter);
  // What Node has compiled once it need not compile again: a command answers in a third of the time, a server in two thirds.
  const env = { NODE_COMPILE_CACHE: join(modules, '.cache', 'node'), ...process.env, PATH: path };
  const child = spawn(node(), args, { cwd: process.cwd(), stdio: 'inherit', env });
  let told = false;
  const tell = (signal) => {
    told = true;
    child.kill(signal);
  };
  // The terminal sends Ctrl-C to both; a process manager only to us.
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => tell(signal));
  process.on('SIGINT', () => {
    told = true;
  });
  // What npm is told it tells a shell between us, and that ends without a word to us.
  const parent = process.ppid;
  const look = () => {
    if (process.ppid !== parent && !told) tell('SIGTERM');
  };
  if (process.env.npm_lifecycle_event) setInterval(look, LOOK_MS).unref();
  child.on('exit', (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
}

const [first, ...rest] = process.argv.slice(2);
install(first === '--tool');
if (first === '--tool') start([join(root, 'scripts', `${rest[0]}.mjs`), ...rest.slice(1)]);
else start(['--disable-warning=ExperimentalWarning', join(root, 'src', 'main.ts'), ...process.argv.slice(2)]);
