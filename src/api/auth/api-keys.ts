import { createHash, randomBytes } from 'node:crypto';

const SHOWN = 'sk_'.length + 6;

/** A new API key: `sk_` and 32 random bytes in base64url. `prefix` is what lists show of it. */
export function newApiKey(): { key: string; hash: string; prefix: string } {
  const key = `sk_${randomBytes(32).toString('base64url')}`;
  return { key, hash: hashApiKey(key), prefix: key.slice(0, SHOWN) };
}

/** Whether the text has the form of a key of ours; nothing else is worth a look into the database. */
export function isApiKey(text: string): boolean {
  return /^sk_[A-Za-z0-9_-]{43}$/.test(text);
}

/**
 * What is stored of a key: its SHA-256, in hex. Nobody finds 256 random bits by trying; slow hashes are for what people
 * think up, and would cost a quarter of a second of a core here.
 */
export function hashApiKey(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}
