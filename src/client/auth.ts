import { SutazaiError } from './errors.ts';
import { sleep } from './time.ts';

/** What a login gives. The refresh token is good once: each exchange brings another. */
export interface TokenPair {
  access_token: string;
  refresh_token: string;
  /** When the access token ends, in milliseconds since 1970. */
  expires_at: number;
}

/** Where tokens are kept, for programs that outlive their process or share a login. */
export interface TokenStore {
  read(): TokenPair | undefined | Promise<TokenPair | undefined>;
  write(pair: TokenPair): void | Promise<void>;
}

/** Who asks: one of an API key, a token, a name with its password, and stored tokens. */
export interface Credentials {
  /** `sk_…` */
  apiKey?: string;
  /** An access token of your own making; it is not refreshed. */
  token?: string;
  /** A user name or e-mail address; the client logs in, and again when it has to. */
  username?: string;
  password?: string;
  /** Tokens of an earlier login; they are refreshed, and the new ones written back. */
  tokens?: TokenStore;
}

/** The answer of the API to a login and to a refresh. */
export interface TokenAnswer {
  access_token: string;
  refresh_token: string;
  expires_in: number;
}

type Send = (path: string, body: unknown) => Promise<TokenAnswer>;

export interface Auth {
  /** The value of `Authorization`; logs in or refreshes first where that is needed. */
  header(): Promise<string | undefined>;
  /** After a 401: whether another token than this one can be had, so that the request is worth a repetition. */
  renew(refused: string): Promise<boolean>;
}

/** A token is exchanged this long before its end, so that it does not end on the way. */
const EARLY_MS = 30_000;
const MOST_LOOKS = 20;
const LOOK_EVERY_MS = 100;

/** Keeps the login. Whoever asks while it is being renewed waits for the same new token. */
export function createAuth({ apiKey, token, username, password, tokens }: Credentials, send: Send): Auth {
  const fixed = apiKey ?? token;
  let pair: TokenPair | undefined;
  let renewing: Promise<TokenPair | undefined> | undefined;

  async function keep(answer: TokenAnswer): Promise<TokenPair> {
    const { access_token, refresh_token, expires_in } = answer;
    pair = { access_token, refresh_token, expires_at: Date.now() + expires_in * 1000 };
    await tokens?.write(pair);
    return pair;
  }

  async function logIn(): Promise<TokenPair | undefined> {
    if (username === undefined || password === undefined) return undefined;
    return keep(
      await send('/api/v1/auth/login', { [username.includes('@') ? 'email' : 'username']: username, password }),
    );
  }

  /** Somebody else who shares the store may have been first. */
  async function newerThan(used: TokenPair): Promise<TokenPair | undefined> {
    const stored = await tokens?.read();
    return stored && stored.refresh_token !== used.refresh_token ? stored : undefined;
  }

  async function exchange(used: TokenPair): Promise<TokenPair | undefined> {
    const newer = await newerThan(used);
    if (newer) return newer;
    try {
      return await keep(await send('/api/v1/auth/refresh', { refresh_token: used.refresh_token }));
    } catch (error) {
      if (!(error instanceof SutazaiError) || (error.status !== 401 && error.code !== 'already_refreshed')) throw error;
      return (await storedSoon(used, error.code === 'already_refreshed')) ?? logIn();
    }
  }

  /** Who was first in another process writes what it got in a moment. */
  async function storedSoon(used: TokenPair, soon: boolean): Promise<TokenPair | undefined> {
    for (let looks = tokens && soon ? MOST_LOOKS : 1; ; looks--) {
      const newer = await newerThan(used);
      if (newer || looks <= 1) return newer;
      await sleep(LOOK_EVERY_MS);
    }
  }

  async function renewed(): Promise<TokenPair | undefined> {
    renewing ??= (async () => (pair ? exchange(pair) : ((await tokens?.read()) ?? logIn())))().finally(() => {
      renewing = undefined;
    });
    pair = await renewing;
    return pair;
  }

  return {
    async header() {
      if (fixed !== undefined) return `Bearer ${fixed}`;
      if (!pair) await renewed();
      if (pair && pair.expires_at - EARLY_MS < Date.now()) await renewed();
      return pair ? `Bearer ${pair.access_token}` : undefined;
    },
    async renew(refused) {
      if (fixed !== undefined || !pair) return false;
      // Another request may have renewed it meanwhile.
      if (`Bearer ${pair.access_token}` !== refused) return true;
      return (await renewed()) !== undefined;
    },
  };
}
