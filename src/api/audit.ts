import { type AuditEntry, insertAudit } from '../db/audit.ts';
import { createBatch } from '../db/batch.ts';
import type { Db } from '../db/connect.ts';
import type { Logger } from '../log.ts';

/** Everything that the audit log tells of. `docs/security.md` shows this table. */
export const AUDIT_ACTIONS = {
  'auth.register': 'an account was made',
  'auth.login': 'somebody logged in, or tried to',
  'auth.logout': 'a session was ended by its user',
  'auth.password': 'a password was changed, or somebody who has a token tried to',
  'session.end': 'sessions were ended by their user, from the list of them',
  'auth.refresh_reused': 'a refresh token was used twice, so its session was ended',
  'api_key.create': 'an API key was made',
  'api_key.revoke': 'an API key was revoked by its user',
  'auth.forbidden': 'an account asked for a route that its permissions do not cover',
  'user.update': 'role, state or limits of an account were changed',
  'user.delete': 'an account was deleted with everything that it had',
  'invitation.create': 'somebody was invited',
  'invitation.delete': 'an invitation was taken back',
  'task.cancel': 'the task of somebody else was cancelled',
  'task.retry': 'the task of somebody else was run again',
  'task.approve': 'a step of a workflow that waited for a human was approved',
  'task.reject': 'a step of a workflow that waited for a human was rejected',
  'task.delete': 'what was in the task of somebody else was deleted',
  'schedule.create': 'a schedule was made',
  'schedule.update': 'a schedule was changed by its user',
  'schedule.delete': 'a schedule was deleted by its user',
  'workflow.create': 'a workflow was stored',
  'workflow.update': 'a workflow was changed by its user, or got a new version',
  'workflow.delete': 'a workflow was deleted by its user',
  'webhook.create': 'a webhook was made',
  'webhook.update': 'a webhook was changed by its user',
  'webhook.delete': 'a webhook was removed by its user',
  'webhook.rotate_secret': 'a webhook got a new secret',
  'webhook.recover': 'what a webhook had missed was sent again',
  'webhook.disable': 'a webhook was disabled by itself, because it answered 410 or failed for five days',
  'collection.create': 'a collection was made',
  'collection.delete': 'a collection was deleted by its user',
  'document.delete': 'a document was deleted by its user',
  'agent.create': 'an agent was made',
  'agent.update': 'an agent was changed, with the names of what was',
  'agent.delete': 'an agent was deleted',
  'task.bulk':
    'many tasks of others were cancelled, retried or deleted by one request: the request, and each batch of them',
  'model.pull': 'a model was asked for, to be brought to the hosts',
  'model.delete': 'a model was deleted from the hosts',
  'queue.pause': 'a queue was told to stand still',
  'queue.resume': 'a queue was told to go on',
  'dashboard.change': 'something was changed in the dashboard',
} as const satisfies Record<string, string>;

export type AuditAction = keyof typeof AUDIT_ACTIONS;

/** What happened. Never put a secret, a token, a password or a part of a payload into `details`. */
export interface AuditEvent {
  action: AuditAction;
  /** `ok` unless told otherwise. */
  outcome?: AuditEntry['outcome'];
  object?: { type: string; id: string };
  /** Who did it, where that is not who sent the request. */
  actor?: { id: string; username: string } | undefined;
  details?: Record<string, unknown>;
}

/** Tells the audit log what one request did; who sent it, from where, and the request id are filled in. */
export interface Trail {
  /** The address that the request came from. */
  readonly address: string | null;
  /** The entry for a change: `insertAudit` stores it in the transaction of the change. */
  entry(event: AuditEvent): AuditEntry;
  /** For what is not a change, such as a refusal: stored together with that of other requests, and not waited for. */
  record(event: AuditEvent): void;
}

export interface Audit {
  trail(request: Requester): Trail;
  /** Waits until what was recorded is stored. */
  close(): Promise<void>;
}

interface Requester {
  actor: { userId: string; username: string; keyId?: string } | undefined;
  address: string | null;
  requestId: string;
}

const MAX_A_STATEMENT = 200;

/** Makes it. What cannot be stored because the database is away is written to the log whole, so that it is never lost silently. */
export function createAudit({ db, log }: { db: Db; log: Logger }): Audit {
  const store = createBatch<AuditEntry, undefined>({
    run: async (entries) => {
      await insertAudit(db, entries);
      return [];
    },
    max: MAX_A_STATEMENT,
    limit: { items: 5_000, ms: 5_000 },
  });
  const underWay = new Set<Promise<unknown>>();

  return {
    trail({ actor, address, requestId }) {
      const entry = (event: AuditEvent): AuditEntry => ({
        actor_id: event.actor?.id ?? actor?.userId ?? null,
        actor_name: event.actor?.username ?? actor?.username ?? null,
        key_id: event.actor ? null : (actor?.keyId ?? null),
        action: event.action,
        outcome: event.outcome ?? 'ok',
        object_type: event.object?.type ?? null,
        object_id: event.object?.id ?? null,
        address,
        request_id: requestId,
        details: event.details ?? {},
      });
      return {
        address,
        entry,
        record(event) {
          const one = entry(event);
          const storing = store(one)
            .catch((error) => log.error({ err: error, audit: one }, 'an entry of the audit log could not be stored'))
            .finally(() => underWay.delete(storing));
          underWay.add(storing);
        },
      };
    },
    close: async () => void (await Promise.all(underWay)),
  };
}
