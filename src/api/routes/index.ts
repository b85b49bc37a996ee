import type { Config } from '../../config.ts';
import type { Parts } from '../../parts.ts';
import type { Identity } from '../auth/identity.ts';
import type { Principals } from '../auth/principals.ts';
import type { Tokens } from '../auth/tokens.ts';
import type { Limits } from '../limits/index.ts';
import type { Route } from '../route.ts';
import type { StoreTasks } from '../store.ts';
import type { Waiters } from '../waiters.ts';
import { apiKeyRoutes } from './api-keys.ts';
import { auditRoutes } from './audit.ts';
import { authRoutes } from './auth.ts';
import { catalogueRoutes } from './catalogue.ts';
import { docsRoutes } from './docs.ts';
import { healthRoutes } from './health.ts';
import { invitationRoutes } from './invitations.ts';
import { monitoringRoutes } from './monitoring.ts';
import { sessionRoutes } from './sessions.ts';
import { readRoutes } from './task-read.ts';
import { steerRoutes } from './task-steer.ts';
import { submitRoutes } from './task-submit.ts';
import { taskTokenRoutes } from './task-token.ts';
import { userRoutes } from './users.ts';

/** What the routes are made from, beside the parts of the process. */
export interface RouteParts extends Parts {
  auth: Config['auth'];
  identity: Identity;
  principals: Principals;
  tokens: Tokens;
  limits: Limits;
  waiters: Waiters;
  store: StoreTasks;
}

/** Every route of the API. */
export function createRoutes(parts: RouteParts): Route[] {
  return [
    ...healthRoutes(parts.readiness),
    ...authRoutes(parts.identity),
    ...apiKeyRoutes(parts),
    ...catalogueRoutes({ ...parts, modelsKind: parts.kinds.models }),
    ...submitRoutes({ ...parts, checkUrl: parts.outbound.check }),
    ...readRoutes(parts),
    ...taskTokenRoutes(parts),
    ...steerRoutes(parts),
    ...sessionRoutes(parts),
    ...userRoutes(parts),
    ...invitationRoutes(parts.db),
    ...monitoringRoutes(parts),
    ...auditRoutes(parts.db),
    ...docsRoutes(),
  ];
}
