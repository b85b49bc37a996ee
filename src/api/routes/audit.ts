import * as v from 'valibot';
import { listAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { answers, pageOf } from '../answer.ts';
import { AUDIT_ACTIONS, type AuditAction } from '../audit.ts';
import { defineRoute, type Route } from '../route.ts';
import { auditEntry, auditExample } from '../shapes/access.ts';
import { pageQuery, time } from '../validate.ts';

const ACTIONS = Object.keys(AUDIT_ACTIONS) as [AuditAction, ...AuditAction[]];

/** Reading the audit log. */
export function auditRoutes(db: Db): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/audit',
      summary: 'Who did what to which object, newest first',
      answers: { 200: answers('A page of the log.', pageOf(auditEntry), { data: [auditExample], next_cursor: null }) },
      query: v.strictObject({
        ...pageQuery,
        actor_id: v.optional(v.pipe(v.string(), v.uuid('must be a UUID'))),
        action: v.optional(v.picklist(ACTIONS, `must be one of ${ACTIONS.join(', ')}`)),
        outcome: v.optional(v.picklist(['ok', 'refused'], 'must be ok or refused')),
        object_type: v.optional(v.string()),
        object_id: v.optional(v.string()),
        after: v.optional(time),
        before: v.optional(time),
      }),
      handle: async ({ query }) => {
        const { limit, cursor, action, outcome, after, before } = query;
        const { actor_id: actorId, object_type: objectType, object_id: objectId } = query;
        const filter = { limit, cursor, action, outcome, after, before, actorId, objectType, objectId };
        const { rows, next } = await listAudit(db, filter);
        return { status: 200, body: { data: rows, next_cursor: next } };
      },
    }),
  ];
}
