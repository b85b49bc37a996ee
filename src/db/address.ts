import { setTimeout as pause } from 'node:timers/promises';

/** The URL of a database; a function where its password may change while we run, asked for each new connection. */
export type DatabaseAddress = string | (() => string);

const INVALID_PASSWORD = '28P01';
/** How long a password may take from the database into its file. */
const PATIENCE_MS = 3_000;
const RETRY_MS = 50;

/** The URL as it is at this moment. */
export function currentUrl(address: DatabaseAddress): string {
  return typeof address === 'string' ? address : address();
}

/** Whether Postgres refused the password, or the user. */
export function isPasswordRefused(error: unknown): boolean {
  return (error as { code?: unknown } | undefined)?.code === INVALID_PASSWORD;
}

/**
 * Opens a connection, which has to ask for the URL each time. While a password is rotated the database has the new one a
 * moment before the file does, so a refusal is believed only after some seconds.
 */
export async function openPatiently<T>(address: DatabaseAddress, open: () => Promise<T>): Promise<T> {
  const believedAt = performance.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await open();
    } catch (error) {
      if (typeof address === 'string' || !isPasswordRefused(error) || performance.now() > believedAt) throw error;
      await pause(RETRY_MS);
    }
  }
}
