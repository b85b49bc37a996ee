import { Command, InvalidArgumentError, Option } from 'commander';
import { addClientCommands } from './cli/index.ts';
import { readDotEnv } from './config.ts';
import { loadClientConfig } from './config-client.ts';
import { errorMessage, Interrupted, UsageError } from './errors.ts';
import { INTERRUPTED } from './lifecycle.ts';
import { LANES } from './tasks/lanes.ts';
import { VERSION } from './version.ts';

const program = new Command('sutazai')
  .description('A durable, fair job queue in front of your own models.')
  .version(VERSION)
  .showHelpAfterError('(add --help to see what there is)')
  .addHelpText(
    'after',
    '\nEvery setting is an environment variable, explained in .env.example; a .env file beside you is read.',
  );

program
  .command('start')
  .description('start the API, a worker and whatever is not configured, embedded; stays until it is stopped')
  .option('--port <port>', 'the port of the API (PORT)')
  .action(async ({ port }) => serve('start', { PORT: port }));

program
  .command('api')
  .description('start the API alone')
  .option('--port <port>', 'the port of the API (PORT)')
  .action(async ({ port }) => serve('api', { PORT: port }));

program
  .command('worker')
  .description('start a worker alone')
  .option('--lanes <lanes>', `the lanes it serves, separated by commas: ${LANES.join(', ')} (WORKER_LANES)`)
  .addOption(
    new Option('--concurrency <n>', 'tasks at a time in each lane (WORKER_CONCURRENCY)').argParser(wholeNumber),
  )
  .action(async ({ lanes, concurrency }) => serve('worker', { WORKER_LANES: lanes, WORKER_CONCURRENCY: concurrency }));

program
  .command('demo')
  .description('start everything, run one task of each kind, show the results and stop')
  .action(async () => (await import('./demo.ts')).demo());

const migrate = program.command('migrate').description('look at the database schema, or change it');
migrate
  .command('status')
  .description('list the migrations and when they were applied')
  .action(() => migration('status'));
migrate
  .command('up')
  .description('apply every pending migration; in production after a backup into BACKUP_DIR')
  .option('--no-backup', 'without one, where the database has snapshots or a point-in-time recovery of its own')
  .action((options) => migration('up', options));
migrate
  .command('down')
  .description('take the newest migration back; what it made is lost')
  .action(() => migration('down'));

program
  .command('backup')
  .description('write a backup of the database, which may be in use: a dump of pg_dump, a manifest and checksums')
  .option('--dir <folder>', 'where to (BACKUP_DIR, else ./backups)')
  .addOption(new Option('--keep <n>', 'delete all but the newest so many backups there').argParser(count))
  .action(async (options) => (await import('./backup-command.ts')).backup(options, process.env));
program
  .command('restore')
  .description('put a backup into the database and bring its schema up; nothing else may run meanwhile')
  .argument('[backup]', 'the folder of the backup; the newest where it is not given')
  .option('--dir <folder>', 'where the newest is looked for (BACKUP_DIR, else ./backups)')
  .option('--replace', 'take away what is in the database now')
  .addOption(new Option('--jobs <n>', 'how many tables to fill at a time').argParser(count))
  .action(async (folder, options) => (await import('./backup-command.ts')).restore(folder, options, process.env));

const secrets = program.command('secrets').description('make secrets, or change them in a running system');
secrets
  .command('generate')
  .description('write the secrets of docker-compose.yml, random ones, each into a file; those that are there stay')
  .option('--dir <folder>', 'where to (else ./secrets)')
  .option('--force', 'new ones in the place of those that are there: what only the old ones open is lost')
  .action(async (options) => (await import('./secrets-command.ts')).generate(options, process.env));
const rotate = secrets.command('rotate').description('change a secret while everything runs');
rotate
  .command('jwt')
  .description('sign access tokens with JWT_SECRET_KEY where it holds a new key, or with a random one')
  .option('--random', 'a random key, also where JWT_SECRET_KEY is set; a gateway that checks tokens does not know it')
  .option('--at-once', 'for a key that leaked: what was signed before is dead at once, and clients have to refresh')
  .action(async (options) => (await import('./secrets-command.ts')).rotateJwt(options));
rotate
  .command('encryption')
  .description('seal what is stored encrypted with ENCRYPTION_KEY, where it was sealed with ENCRYPTION_KEY_PREVIOUS')
  .action(async () => (await import('./secrets-command.ts')).rotateEncryption());
rotate
  .command('database')
  .description('give the database user a new, random password, and write it into the file that all processes read')
  .action(async () => (await import('./rotate-database.ts')).rotateDatabase());

addClientCommands(program, {
  config() {
    readDotEnv();
    const config = loadClientConfig(process.env);
    // The files that a command names are those of whoever typed it; `.env` and DATA_DIR are found by now.
    if (config.typedIn) process.chdir(config.typedIn);
    return config;
  },
  findLocal: async (dataDir) => (await import('./embedded/home.ts')).findRun(dataDir)?.url,
});

async function migration(verb: 'status' | 'up' | 'down', options?: { backup: boolean }): Promise<void> {
  await (await import('./migrate-command.ts')).migrate(verb, process.env, options);
}

function count(text: string): number {
  return Number(wholeNumber(text));
}

function wholeNumber(text: string): string {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('It wants a whole number from 1.');
  return text;
}

// Imported when it is wanted: the commands over HTTP need nothing of it, and are up at once.
async function serve(mode: 'start' | 'api' | 'worker', flags: Record<string, string | undefined>): Promise<void> {
  readDotEnv();
  const given = Object.entries(flags).filter(([, value]) => value !== undefined);
  await (await import('./serve.ts')).serve(mode, { ...process.env, ...Object.fromEntries(given) });
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof UsageError) console.error(error.message);
  else console.error(error instanceof Error ? error.stack : errorMessage(error));
  process.exit(error instanceof Interrupted ? INTERRUPTED : 1);
}
