import { createHash, randomBytes } from 'node:crypto';
import type { Db } from '../../db/connect.ts';
import type { Notifications } from '../../db/notify.ts';
import { IDENTITY_CHANNEL } from '../../db/principals.ts';
import { addSigningKey, listSigningKeys, type SigningKeyRow } from '../../db/signing-keys.ts';
import { UsageError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { SecretBox } from '../../secretbox.ts';

/** A key of access tokens. */
export interface SigningKey {
  kid: string;
  secret: string;
  /** Until when it is taken, in milliseconds since 1970; the one that signs has no end. */
  until: number;
}

/** The keys of access tokens, as every process has them. */
export interface SigningKeys {
  /** The one that signs. */
  current(): SigningKey;
  /** The key of this name, where it is taken now. */
  find(kid: string): Promise<SigningKey | undefined>;
  /** Called after the keys changed: what they opened before may not be good any more. */
  onChange(listener: () => void): void;
  close(): void;
}

interface Options {
  db: Db;
  box: SecretBox;
  /** JWT_SECRET_KEY. */
  configured: string;
  /** How long a key is still taken after it was replaced. */
  overlapSeconds: number;
  notifications: Notifications;
  log: Logger;
}

/** What nobody told of is looked up, but not more often: anybody can make up names of keys. */
const LOOKUP_EVERY_MS = 1_000;
const CLOCK_SKEW_SECONDS = 60;

/** How long after its replacement the last token of a key is still good. */
export function overlapOf({ accessSeconds }: { accessSeconds: number }): number {
  return accessSeconds + CLOCK_SKEW_SECONDS;
}

/** The name of a key: the beginning of its SHA-256, so that whoever has the key knows it, the gateway too. */
export function kidOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex').slice(0, 12);
}

/**
 * Reads the keys and keeps up with them. The configured one is stored where it is new, and signs from then on, in all
 * processes; where it was replaced already, the newest one signs.
 * @throws UsageError where what is stored cannot be opened
 */
export async function openSigningKeys(options: Options): Promise<SigningKeys> {
  const { db, box, configured, overlapSeconds, notifications, log } = options;
  const listeners: Array<() => void> = [];
  let keys = new Map<string, SigningKey>();
  let [lookedAt, reading] = [0, Promise.resolve()];

  async function read(): Promise<void> {
    lookedAt = Date.now();
    const found = await readKeys(db, box);
    if (found.size === 0)
      throw new UsageError('JWT_SECRET_KEY was replaced, and what replaced it is gone. Put a new one in its place.');
    keys = found;
    for (const listener of listeners) listener();
  }
  /** One after the other, so that an older answer does not come last. */
  function reread(): Promise<void> {
    const next = reading.then(read);
    reading = next.catch(() => {});
    return next;
  }
  const hear = () =>
    void reread().catch((error) =>
      log.error({ err: error }, 'the signing keys could not be read; the known ones stay'),
    );

  // Nothing is stored beside keys that cannot be opened.
  await readKeys(db, box);
  const offChannel = notifications.on(IDENTITY_CHANNEL, (payload) => {
    if (payload === 'keys') hear();
  });
  const offConnect = notifications.onConnect(hear);
  const kid = kidOf(configured);
  const isNew = await addSigningKey(db, { kid, secret: box.seal(configured), overlapSeconds });
  await reread();
  const current = () => [...keys.values()][0] as SigningKey;
  if (!isNew && current().kid !== kid)
    log.info('JWT_SECRET_KEY holds a key that was replaced by a newer one, which signs in its place');

  return {
    current,
    async find(kid) {
      const deaf = !notifications.connected();
      if ((deaf || !keys.has(kid)) && Date.now() - lookedAt >= LOOKUP_EVERY_MS) {
        lookedAt = Date.now();
        await reread().catch((error) => {
          if (!keys.has(kid)) throw error;
        });
      }
      const key = keys.get(kid);
      return key && key.until > Date.now() ? key : undefined;
    },
    onChange: (listener) => void listeners.push(listener),
    close() {
      offChannel();
      offConnect();
    },
  };
}

/**
 * Puts a key in the place of the one that signs, in every process and without a restart; answers its name.
 * @param secret the new key; a random one when not given
 * @throws UsageError where there is nothing to replace, or the key is no new one
 */
export async function rotateSigningKey(
  { db, box, overlapSeconds }: Pick<Options, 'db' | 'box' | 'overlapSeconds'>,
  secret = randomBytes(48).toString('base64url'),
): Promise<string> {
  if ((await readKeys(db, box)).size === 0)
    throw new UsageError('There is no signing key to replace yet: the API stores the first when it starts.');
  const kid = kidOf(secret);
  if (await addSigningKey(db, { kid, secret: box.seal(secret), overlapSeconds })) return kid;
  throw new UsageError(
    'JWT_SECRET_KEY is, or was, a signing key already. Put a new one in its place (`openssl rand -base64 32`), or add --random where no gateway checks tokens.',
  );
}

/** In the order of the list: the one that signs first. */
async function readKeys(db: Db, box: SecretBox): Promise<Map<string, SigningKey>> {
  const rows = await listSigningKeys(db);
  return new Map(rows.map((row) => [row.kid, openKey(row, box)]));
}

function openKey({ kid, secret, retires_at }: SigningKeyRow, box: SecretBox): SigningKey {
  try {
    return { kid, secret: box.open(secret), until: retires_at?.getTime() ?? Number.POSITIVE_INFINITY };
  } catch (error) {
    throw new UsageError(
      'The signing keys in the database were sealed with another ENCRYPTION_KEY. Put that one back, or beside it as ENCRYPTION_KEY_PREVIOUS. Where it is lost, empty the table signing_keys and start again; what else it sealed is lost too.',
      { cause: error },
    );
  }
}
