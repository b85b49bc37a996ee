import type { ModelRights } from '../../clients/model-rights.ts';
import { findApiKeys, type KeyStanding, touchLastUse } from '../../db/api-keys.ts';
import { createBatch } from '../../db/batch.ts';
import type { Db } from '../../db/connect.ts';
import type { Notifications } from '../../db/notify.ts';
import { findStandings, IDENTITY_CHANNEL, type Standing } from '../../db/principals.ts';
import type { Role } from '../../db/schema.ts';
import type { Logger } from '../../log.ts';
import { type Permission, permits, ROLE_PERMISSIONS } from '../policy.ts';
import type { Principal } from '../route.ts';
import { hashApiKey, isApiKey } from './api-keys.ts';
import { createRemembered } from './remembered.ts';
import type { AccessClaims, TokenKind, Tokens } from './tokens.ts';
import { createUnknownKeys } from './unknown-keys.ts';

/** Finds out who is asking. */
export interface Principals {
  /** The principal of a token, or `undefined` for anything but a good one of these kinds, of a session that lives. */
  ofToken(token: string, kinds?: readonly TokenKind[]): Promise<Principal | undefined>;
  /** The principal of an API key, or `undefined` for anything but a good one of an active user. */
  ofKey(key: string, address?: string): Promise<Principal | undefined>;
  /** Calls `listener` with what is not relied on any more: a session, an API key or a user, or all of them where no id is given. */
  onGone(listener: (id: string | undefined) => void): () => void;
  /** Relies no longer on what hangs on this id; other processes hear of it from the database. */
  forget(id: string): void;
  forgetAll(): void;
  /** Waits until the last uses are written down. */
  close(): Promise<void>;
}

interface Options {
  db: Db;
  tokens: Tokens;
  notifications: Notifications;
  /** How many API keys that are not good one address may bring in a minute; 0 is no limit. */
  unknownKeysPerMinute?: number;
  /** Which models a role may use; all when not given. */
  models?: ModelRights;
  log: Logger;
}

const MAX_LOOKUPS_A_STATEMENT = 500;
const USE_WRITTEN_EVERY_MS = 60_000;

/**
 * Makes it. Each process looks a credential up once, together with those of other requests, and remembers it until it
 * expires or the database says that it is gone. While nothing can be heard from the database, it is asked each time; where
 * it does not answer either, a token that was good before stays good until it expires. API keys need not expire, so they
 * are not good then.
 */
export function createPrincipals(options: Options): Principals {
  const { db, tokens, notifications, unknownKeysPerMinute = 0, log } = options;
  const remembered = createRemembered<{ principal: Principal; usedAt: number }>();
  const unknownKeys = createUnknownKeys(unknownKeysPerMinute);
  const findStanding = createLookup((ids) => findStandings(db, ids));
  const findKey = createLookup((hashes) => findApiKeys(db, hashes));
  const touch = createBatch<string, undefined>({
    run: async (ids) => {
      await touchLastUse(db, ids);
      return [];
    },
    max: MAX_LOOKUPS_A_STATEMENT,
  });
  let touching: Promise<unknown> = Promise.resolve();
  const goneListeners = new Set<(id: string | undefined) => void>();
  function forget(id: string): void {
    remembered.forget(id);
    unknownKeys.clear();
    for (const listener of goneListeners) listener(id);
  }
  function forgetAll(): void {
    remembered.forgetAll();
    unknownKeys.clear();
    for (const listener of goneListeners) listener(undefined);
  }
  const offChannel = notifications.on(IDENTITY_CHANNEL, (payload) => {
    const [what, id] = payload.split(' ');
    if (what === 'gone' && id) forget(id);
  });
  // What was said while the connection was away was not heard.
  const offConnect = notifications.onConnect(forgetAll);

  /** Notes a use beside the request: nobody waits for it, and once a minute is enough. */
  function used(entry: { principal: Principal; usedAt: number }): Principal {
    if (Date.now() - entry.usedAt >= USE_WRITTEN_EVERY_MS) {
      entry.usedAt = Date.now();
      // They are written in the order in which they are asked for, so the last one is the one to wait for.
      touching = touch(entry.principal.sessionId).catch((error) =>
        log.warn({ err: error }, 'the last use of a session or an API key could not be written down'),
      );
    }
    return entry.principal;
  }

  function remember(credential: string, principal: Principal, until: number, moment: number): Principal {
    const whole = { ...principal, modelRefusal: options.models?.refusals(principal.role) };
    const entry = { principal: whole, usedAt: remembered.get(credential)?.usedAt ?? 0 };
    remembered.set(credential, entry, { ids: [principal.sessionId, principal.userId], until, moment });
    return used(entry);
  }

  return {
    async ofToken(token, kinds = ['access']) {
      // What is good for something else is not even looked at as this.
      const credential = `${kinds.join()} ${token}`;
      const known = remembered.get(credential);
      if (known && notifications.connected()) return used(known);
      const moment = remembered.moment();
      const claims = await tokens.verify(token, kinds);
      if (!claims) return undefined;
      let standing: Standing | undefined;
      try {
        standing = await findStanding(claims.sessionId);
      } catch (error) {
        if (known) return known.principal;
        throw error;
      }
      if (!standing || standing.user_id !== claims.userId || standing.role !== claims.role) {
        if (known) remembered.forget(claims.sessionId);
        return undefined;
      }
      return remember(
        credential,
        tokenPrincipal(standing, claims),
        Math.min(claims.expiresAt * 1000, endOf(standing)),
        moment,
      );
    },

    async ofKey(key, address = '') {
      if (!isApiKey(key)) return undefined;
      const hash = hashApiKey(key);
      const known = remembered.get(hash);
      if (known && notifications.connected()) return used(known);
      if (!known && unknownKeys.has(hash, address)) return undefined;
      const moment = remembered.moment();
      const standing = await findKey(hash);
      if (standing) return remember(hash, keyPrincipal(standing), endOf(standing), moment);
      // What was read before something changed may not hold any more.
      if (moment === remembered.moment()) unknownKeys.add(hash, address);
      if (known) remembered.forget(known.principal.sessionId);
      return undefined;
    },

    onGone(listener) {
      goneListeners.add(listener);
      return () => goneListeners.delete(listener);
    },
    forget,
    forgetAll,

    async close() {
      offChannel();
      offConnect();
      await touching;
    },
  };
}

/** Looks up together what several requests ask for at once. */
function createLookup<T>(find: (keys: string[]) => Promise<Map<string, T>>): (key: string) => Promise<T | undefined> {
  return createBatch<string, T | undefined>({
    run: async (keys) => {
      const found = await find([...new Set(keys)]);
      return keys.map((key) => found.get(key));
    },
    max: MAX_LOOKUPS_A_STATEMENT,
    parallel: 2,
    limit: { items: 5_000, ms: 5_000 },
  });
}

const permissionsOf = (role: Role) => ROLE_PERMISSIONS[role];

const endOf = ({ expires_at }: Standing) => expires_at?.getTime() ?? Number.POSITIVE_INFINITY;

function tokenPrincipal({ id, user_id: userId, username, role }: Standing, { task }: AccessClaims): Principal {
  const may = permissionsOf(role);
  const can = (permission: Permission) => may.has(permission) && (task?.permissions.includes(permission) ?? true);
  return { userId, username, role, sessionId: id, taskId: task?.id, can };
}

/** What a key may do: what its scopes name, as far as its owner may, and never the owner's own account. */
function keyPrincipal(key: KeyStanding): Principal {
  const { id, user_id: userId, username, role, scopes, task_types, priority_ceiling } = key;
  return {
    userId,
    username,
    role,
    sessionId: id,
    keyId: id,
    taskTypes: task_types ?? undefined,
    priorityCeiling: priority_ceiling ?? undefined,
    can: (permission) => permits(role, scopes, permission),
  };
}
