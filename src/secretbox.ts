import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';

/** Seals small secrets before they are stored, and opens them again. */
export interface SecretBox {
  seal(text: string): Buffer;
  open(sealed: Buffer): string;
  /** A keyed hash, so that what has few possible values cannot be found by trying them all. */
  digest(text: string): Buffer;
}

const IV_BYTES = 12;
const TAG_BYTES = 16;

/** AES-256-GCM; layout: 12 bytes of nonce, 16 of tag, then the ciphertext. @param key 32 bytes in base64 */
export function createSecretBox(key: string): SecretBox {
  const bytes = Buffer.from(key, 'base64');
  const digestKey = Buffer.from(hkdfSync('sha256', bytes, '', 'sutazai digest', 32));
  return {
    seal(text) {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv('aes-256-gcm', bytes, iv);
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return Buffer.concat([iv, cipher.getAuthTag(), body]);
    },
    open(sealed) {
      const iv = sealed.subarray(0, IV_BYTES);
      // Without the length a cut tag of four bytes would pass for a whole one.
      const decipher = createDecipheriv('aes-256-gcm', bytes, iv, { authTagLength: TAG_BYTES });
      decipher.setAuthTag(sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
      return decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES), undefined, 'utf8') + decipher.final('utf8');
    },
    digest: (text) => createHmac('sha256', digestKey).update(text).digest(),
  };
}
