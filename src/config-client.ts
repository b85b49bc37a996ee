import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { readValues, wrongSettings } from './read-settings.ts';
import { SETTINGS } from './settings.ts';
import { CLIENT_SETTINGS } from './settings-client.ts';

/** What the environment decides for the commands that talk to a server. */
export type ClientConfig = ReturnType<typeof loadClientConfig>;

/**
 * Reads the variables of these commands alone: those of a server that are wrong, or missing in production, do not concern them.
 * @throws UsageError that lists every wrong variable at once
 */
export function loadClientConfig(env: Record<string, string | undefined>) {
  const problems: string[] = [];
  const s = readValues({ ...CLIENT_SETTINGS, DATA_DIR: SETTINGS.DATA_DIR }, env, {}, problems);
  if (problems.length > 0) throw wrongSettings(problems);
  return Object.freeze({
    url: s.SUTAZAI_URL?.replace(/\/+$/, ''),
    apiKey: s.SUTAZAI_API_KEY,
    token: s.SUTAZAI_TOKEN,
    credentialsFile: resolve(s.XDG_CONFIG_HOME ?? join(homedir(), '.config'), 'sutazai', 'credentials.json'),
    /** Where a server that runs on this machine has its data, and says where it listens. */
    dataDir: resolve(s.DATA_DIR ?? '.data'),
    /** Where somebody typed `npm run sutazai`, which npm runs at the root of the clone; undefined where that is not how we were started. */
    typedIn: typedIn(env),
  });
}

function typedIn(env: Record<string, string | undefined>): string | undefined {
  return env.npm_lifecycle_event === 'sutazai' && env.npm_package_name === 'sutazai' ? env.INIT_CWD : undefined;
}

/** The whole path of what somebody named at a terminal. */
export function whereTyped(path: string, env: Record<string, string | undefined>): string {
  return resolve(typedIn(env) ?? '.', path);
}
