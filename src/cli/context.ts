import { Sutazai, SutazaiError } from '../client/index.ts';
import type { ClientConfig } from '../config-client.ts';
import { UsageError } from '../errors.ts';
import { type Credentials, readCredentials, storedTokens } from './credentials.ts';
import { explain, type Source } from './failures.ts';
import { harmless, note } from './terminal.ts';

/** What every command over HTTP works with. Nothing is read before a command asks. */
export interface Context {
  config(): ClientConfig;
  /** The server that is meant. */
  url(): string;
  source(): Source;
  /** The address of a server that runs on this machine on its own data, if one does. */
  localUrl(): Promise<string | undefined>;
  /** @param patient for what follows a task, also over a restart of the server. @throws UsageError where nobody is logged in */
  client(options?: { patient?: boolean }): Sutazai;
}

export interface Surroundings {
  config: () => ClientConfig;
  findLocal: (dataDir: string) => Promise<string | undefined>;
}

export const USUAL_URL = 'http://127.0.0.1:3000';
/** Somebody waits at the terminal for the word that the server is away. */
const RETRIES = 2;
const PATIENT_RETRIES = 12;

export function createContext({ config: load, findLocal }: Surroundings): Context {
  let known: ClientConfig | undefined;
  const config = () => {
    known ??= load();
    return known;
  };
  const stored = (): Credentials => readCredentials(config().credentialsFile);
  const url = () => config().url ?? stored().current ?? USUAL_URL;

  return {
    config,
    url,
    source: () => (config().apiKey ? 'SUTAZAI_API_KEY' : config().token ? 'SUTAZAI_TOKEN' : 'login'),
    localUrl: () => findLocal(config().dataDir),
    client({ patient = false } = {}) {
      const { apiKey, token, credentialsFile } = config();
      const baseUrl = url();
      const more = { baseUrl, maxRetries: patient ? PATIENT_RETRIES : RETRIES };
      if (apiKey) return new Sutazai({ ...more, apiKey });
      if (token) return new Sutazai({ ...more, token });
      const login = stored().logins[baseUrl];
      if (!login) throw new UsageError(notLoggedIn(baseUrl, config().url ?? stored().current));
      if (login.api_key) return new Sutazai({ ...more, apiKey: login.api_key });
      return new Sutazai({ ...more, tokens: storedTokens(credentialsFile, baseUrl) });
    },
  };
}

/** Makes a command of some work: its errors say what comes next, and what it answers is the exit code. */
export function act<A extends unknown[]>(
  context: Context,
  work: (...given: A) => Promise<number | undefined> | Promise<void>,
): (...given: A) => Promise<void> {
  return async (...given) => {
    // Whoever reads only the beginning, as `head` does, is not in trouble.
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0);
      throw error;
    });
    try {
      // Decides where the files are that a command may name.
      context.config();
      process.exitCode = (await work(...given)) ?? 0;
    } catch (error) {
      throw explain(error, context);
    }
  };
}

/**
 * Does something for each id, also where it fails for another, and says for which it did; answers the exit code.
 * Where the server is not there, or does not know who asks, the rest would fail as well.
 */
export async function forEach(context: Context, ids: string[], work: (id: string) => Promise<void>): Promise<number> {
  let code = 0;
  for (const id of ids) {
    try {
      await work(id);
    } catch (error) {
      const ofThisOne = error instanceof SutazaiError && error.status !== 0 && error.status !== 401;
      if (!ofThisOne || ids.length === 1) throw error;
      note(`${harmless(id)}: ${(explain(error, context) as Error).message}`);
      code = 1;
    }
  }
  return code;
}

/** `sutazai login` finds a server of the same DATA_DIR on this machine by itself. */
function notLoggedIn(url: string, named: string | undefined): string {
  return named
    ? `You are not logged in to ${url}. Run \`sutazai login --url ${url}\`, or set SUTAZAI_API_KEY.`
    : 'You are not logged in. Run `sutazai login`, with --url where the server is not on this machine; or set SUTAZAI_URL and SUTAZAI_API_KEY.';
}
