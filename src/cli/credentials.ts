import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { TokenPair, TokenStore } from '../client/index.ts';
import { UsageError } from '../errors.ts';

/** How somebody is known to a server: by an API key or by the tokens of a login. */
export interface Login {
  username: string;
  api_key?: string;
  tokens?: TokenPair;
}

/** The file of `sutazai login`: one login a server, and the server that is meant where none is named. */
export interface Credentials {
  current?: string;
  logins: Record<string, Login>;
}

/** @throws UsageError where the file is there and cannot be read */
export function readCredentials(file: string): Credentials {
  try {
    const { current, logins } = JSON.parse(readFileSync(file, 'utf8')) as Credentials;
    return { current, logins: { ...logins } };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { logins: {} };
    throw new UsageError(
      `${file} cannot be read: ${(error as Error).message}. Delete it and run \`sutazai login\` again.`,
      { cause: error },
    );
  }
}

/** Writes it for its owner alone, as a whole or not at all. */
function writeCredentials(file: string, credentials: Credentials): void {
  const temporary = `${file}.${process.pid}`;
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(temporary, `${JSON.stringify(credentials, null, 2)}\n`, { mode: 0o600 });
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw new UsageError(
      `${file} cannot be written (${(error as NodeJS.ErrnoException).code}). Name another folder with XDG_CONFIG_HOME, or set SUTAZAI_API_KEY.`,
      { cause: error },
    );
  }
}

/** Keeps a login and makes its server the current one. */
export function keepLogin(file: string, url: string, login: Login): void {
  const { logins } = readCredentials(file);
  writeCredentials(file, { current: url, logins: { ...logins, [url]: login } });
}

/** Forgets the login to a server. */
export function forgetLogin(file: string, url: string): void {
  const { current, logins } = readCredentials(file);
  delete logins[url];
  writeCredentials(file, { ...(current === url ? {} : { current }), logins });
}

/** The tokens of a login, for a client that renews them; other commands may do so at the same time. */
export function storedTokens(file: string, url: string): TokenStore {
  return {
    read: () => readCredentials(file).logins[url]?.tokens,
    write(tokens) {
      const credentials = readCredentials(file);
      const login = credentials.logins[url];
      if (login)
        writeCredentials(file, { ...credentials, logins: { ...credentials.logins, [url]: { ...login, tokens } } });
    },
  };
}
