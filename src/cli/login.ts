import type { Command } from 'commander';
import { Sutazai, type TokenPair } from '../client/index.ts';
import { UsageError } from '../errors.ts';
import { ask, askHidden, readStdin } from './ask.ts';
import { act, type Context, USUAL_URL } from './context.ts';
import { forgetLogin, keepLogin, type Login, readCredentials } from './credentials.ts';
import { explain } from './failures.ts';
import { say, sayJson } from './terminal.ts';

/** `login`, `logout`, `whoami`. */
export function loginCommands(program: Command, context: Context): void {
  program
    .command('login')
    .description('log in to a server and keep that, for all other commands')
    .option(
      '--url <url>',
      'the server; one that runs on this machine with the same DATA_DIR is found by itself (SUTAZAI_URL)',
    )
    .option('--username <name>', 'a user name or e-mail address; asked for where it is not given')
    .option('--api-key <key>', 'an API key in the place of a password; `-` reads it from stdin')
    .addHelpText(
      'after',
      `
The password is asked for, and not shown; without a terminal it is the first line of stdin.

Examples:
  sutazai login
  sutazai login --url https://tasks.example.com --username ada
  sutazai login --api-key sk_…`,
    )
    .action(act(context, (options) => login(context, options)));

  program
    .command('logout')
    .description('end the session and forget the login')
    .addHelpText('after', '\nExample:\n  sutazai logout')
    .action(
      act(context, async () => {
        const { credentialsFile } = context.config();
        const url = context.url();
        const known = readCredentials(credentialsFile).logins[url];
        if (!known) throw new UsageError(`You are not logged in to ${url}.`);
        // An API key goes on being good elsewhere; a session that is over already needs no end.
        if (known.tokens) await endSession(context);
        forgetLogin(credentialsFile, url);
        say(`Logged out of ${url}.`);
      }),
    );

  program
    .command('whoami')
    .description('who you are, on which server, and what you may do')
    .option('--json', 'one JSON value')
    .addHelpText('after', '\nExample:\n  sutazai whoami --json')
    .action(
      act(context, async ({ json }) => {
        const me = await context.client().me();
        if (json) return sayJson({ url: context.url(), ...me });
        say(`${me.username} (${me.role}) at ${context.url()}\nmay: ${me.permissions.join(', ')}`);
      }),
    );
}

interface LoginOptions {
  url?: string;
  username?: string;
  apiKey?: string;
}

async function login(context: Context, { url, username, apiKey }: LoginOptions): Promise<void> {
  const { url: configured, credentialsFile } = context.config();
  const local = url || configured ? undefined : await context.localUrl();
  const known = url ?? configured ?? local ?? readCredentials(credentialsFile).current ?? USUAL_URL;
  const baseUrl = known.replace(/\/+$/, '');
  try {
    const login =
      apiKey === undefined
        ? await byPassword(baseUrl, username, local !== undefined)
        : await byKey(baseUrl, apiKey === '-' ? (await readStdin()).trim() : apiKey);
    keepLogin(credentialsFile, baseUrl, login);
    say(`Logged in to ${baseUrl} as ${login.username}${login.api_key ? ', with an API key' : ''}.`);
  } catch (error) {
    throw explain(error, { url: () => baseUrl, source: () => (apiKey === undefined ? 'login' : '--api-key') });
  }
}

async function byKey(baseUrl: string, apiKey: string): Promise<Login> {
  const me = await new Sutazai({ baseUrl, apiKey, maxRetries: 1 }).me();
  return { username: me.username, api_key: apiKey };
}

/** @param local whether it is a server of one's own, whose first account is `admin` */
async function byPassword(baseUrl: string, given: string | undefined, local: boolean): Promise<Login> {
  const question = `User name at ${baseUrl}${local ? ' (admin)' : ''}: `;
  const username = given ?? ((await ask(question)).trim() || (local ? 'admin' : ''));
  if (!username) throw new UsageError('A user name is needed: `sutazai login --username <name>`.');
  const password = await askHidden(`Password of ${username}: `);
  let tokens: TokenPair | undefined;
  const store = {
    read: () => tokens,
    write(pair: TokenPair) {
      tokens = pair;
    },
  };
  const me = await new Sutazai({ baseUrl, username, password, tokens: store, maxRetries: 1 }).me();
  return { username: me.username, tokens };
}

async function endSession(context: Context): Promise<void> {
  try {
    await context.client().logout();
  } catch (error) {
    if ((error as { status?: number }).status !== 401) throw error;
  }
}
