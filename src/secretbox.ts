import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';

/** Seals small secrets before they are stored, and opens them again. */
export interface SecretBox {
  seal(text: string): Buffer;
  open(sealed: Buffer): string;
  /** What everything begins with that is sealed now: the name of the key. */
  readonly mark: Buffer;
  /** A keyed hash, so that what has few possible values cannot be found by trying them all. */
  digest(text: string): Buffer;
  /** The same with each key that is known: one that was made before a rotation is among them. */
  digests(text: string): Buffer[];
}

const MARK_BYTES = 8;
const IV_BYTES = 12;
const TAG_BYTES = 16;

/**
 * AES-256-GCM; layout: 8 bytes that name the key, 12 of nonce, 16 of tag, then the ciphertext. What was sealed before keys had
 * names begins with the nonce, and opens all the same.
 * @param key 32 bytes in base64; it seals
 * @param others keys that open as well
 */
export function createSecretBox(key: string, others: readonly string[] = []): SecretBox {
  const first = createKey(key);
  const keys = [first, ...others.map(createKey)];
  return {
    mark: first.mark,
    seal: (text) => Buffer.concat([first.mark, first.seal(text)]),
    open(sealed) {
      const named = keys.find(({ mark }) => sealed.subarray(0, MARK_BYTES).equals(mark));
      if (named) return named.open(sealed.subarray(MARK_BYTES));
      return openWithAny(keys, sealed);
    },
    digest: first.digest,
    digests: (text) => keys.map(({ digest }) => digest(text)),
  };
}

type Key = ReturnType<typeof createKey>;

function openWithAny([key, ...others]: Key[], sealed: Buffer): string {
  if (!key) throw new Error('It was sealed with a key that is not there.');
  try {
    return key.open(sealed);
  } catch {
    return openWithAny(others, sealed);
  }
}

function createKey(key: string) {
  const bytes = Buffer.from(key, 'base64');
  const digestKey = derived(bytes, 'sutazai digest', 32);
  return {
    mark: derived(bytes, 'sutazai key', MARK_BYTES),
    seal(text: string) {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv('aes-256-gcm', bytes, iv);
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return Buffer.concat([iv, cipher.getAuthTag(), body]);
    },
    open(sealed: Buffer) {
      const iv = sealed.subarray(0, IV_BYTES);
      // Without the length a cut tag of four bytes would pass for a whole one.
      const decipher = createDecipheriv('aes-256-gcm', bytes, iv, { authTagLength: TAG_BYTES });
      decipher.setAuthTag(sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
      return decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES), undefined, 'utf8') + decipher.final('utf8');
    },
    digest: (text: string) => createHmac('sha256', digestKey).update(text).digest(),
  };
}

function derived(key: Buffer, name: string, bytes: number): Buffer {
  return Buffer.from(hkdfSync('sha256', key, '', name, bytes));
}
