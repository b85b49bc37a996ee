import { createProbe } from '../../agents/probe.ts';
import type { Config } from '../../config.ts';
import type { Parts } from '../../parts.ts';
import type { Identity } from '../auth/identity.ts';
import type { Principals } from '../auth/principals.ts';
import type { Tokens } from '../auth/tokens.ts';
import type { Limits } from '../limits/index.ts';
import type { BatchRunner } from '../openai/batches/runner.ts';
import { openAiRoutes } from '../openai/index.ts';
import type { Route } from '../route.ts';
import type { StoreTasks } from '../store.ts';
import type { ReadEvents } from '../streams/events.ts';
import { createFollow } from '../streams/follow.ts';
import type { OpenStreams } from '../streams/open-streams.ts';
import type { Waiters } from '../waiters.ts';
import { agentHealthRoutes } from './agent-health.ts';
import { agentRoutes } from './agents.ts';
import { apiKeyRoutes } from './api-keys.ts';
import { auditRoutes } from './audit.ts';
import { authRoutes } from './auth.ts';
import { callbackRoutes } from './callbacks.ts';
import { catalogueRoutes } from './catalogue.ts';
import { chatRoutes } from './chat.ts';
import { collectionRoutes } from './collections.ts';
import { deliveryRoutes } from './deliveries.ts';
import { docsRoutes } from './docs.ts';
import { documentRoutes } from './documents.ts';
import { healthRoutes } from './health.ts';
import { invitationRoutes } from './invitations.ts';
import { metricsRoutes } from './metrics.ts';
import { modelRoutes } from './models.ts';
import { monitoringRoutes } from './monitoring.ts';
import { referenceRoutes } from './reference.ts';
import { scheduleRoutes } from './schedules.ts';
import { sessionRoutes } from './sessions.ts';
import { bulkRoutes } from './task-bulk.ts';
import { eventRoutes } from './task-events.ts';
import { forgetRoutes } from './task-forget.ts';
import { readRoutes } from './task-read.ts';
import { retryRoutes } from './task-retry.ts';
import { steerRoutes } from './task-steer.ts';
import { submitRoutes } from './task-submit.ts';
import { taskTokenRoutes } from './task-token.ts';
import { taskWorkflowRoutes } from './task-workflow.ts';
import { userRoutes } from './users.ts';
import { webhookRoutes } from './webhooks.ts';
import { workflowRoutes } from './workflows.ts';

/** What the routes are made from, beside the parts of the process. */
export interface RouteParts extends Parts {
  auth: Config['auth'];
  identity: Identity;
  principals: Principals;
  tokens: Tokens;
  limits: Limits;
  waiters: Waiters;
  readEvents: ReadEvents;
  streams: OpenStreams;
  store: StoreTasks;
  batches: BatchRunner;
}

/** Every route of the API. */
export function createRoutes(parts: RouteParts): Route[] {
  const follow = createFollow(parts);
  const routes: Route[] = [
    ...healthRoutes(parts.readiness),
    ...authRoutes(parts.identity),
    ...apiKeyRoutes(parts),
    ...chatRoutes({ ...parts, follow, checkUrl: parts.outbound.check }),
    ...catalogueRoutes(parts),
    ...modelRoutes({
      ...parts,
      checkUrl: parts.outbound.check,
      modelsKind: parts.kinds.models,
    }),
    ...submitRoutes({ ...parts, checkUrl: parts.outbound.check }),
    ...readRoutes(parts),
    ...eventRoutes({ ...parts, follow }),
    ...taskTokenRoutes(parts),
    ...steerRoutes(parts),
    ...retryRoutes({ ...parts, checkUrl: parts.outbound.check }),
    ...taskWorkflowRoutes(parts),
    ...forgetRoutes(parts),
    ...callbackRoutes(parts),
    ...bulkRoutes({ ...parts, checkUrl: parts.outbound.check }),
    ...scheduleRoutes({ ...parts, checkUrl: parts.outbound.check, maxSchedules: parts.config.maxSchedules }),
    ...agentHealthRoutes({ ...parts, probe: createProbe(parts) }),
    ...agentRoutes({ ...parts, checkUrl: parts.outbound.check, maxAgents: parts.config.maxAgents }),
    ...workflowRoutes({ ...parts, checkUrl: parts.outbound.check, maxWorkflows: parts.config.maxWorkflows }),
    ...webhookRoutes({ ...parts, checkUrl: parts.outbound.check, webhooks: parts.config.webhooks }),
    ...deliveryRoutes(parts),
    ...collectionRoutes({ ...parts, maxCollections: parts.config.vectors.most.collections }),
    ...documentRoutes({
      ...{ ...parts, checkUrl: parts.outbound.check, files: parts.config.files },
      maxDocuments: parts.config.vectors.most.documents,
    }),
    ...sessionRoutes(parts),
    ...userRoutes(parts),
    ...invitationRoutes(parts.db),
    ...monitoringRoutes(parts),
    ...metricsRoutes(parts),
    ...auditRoutes(parts.db),
    ...openAiRoutes(parts),
    ...docsRoutes(),
    ...referenceRoutes({
      ...parts,
      dashboard: parts.config.monitoring.enabled,
      routes: () => routes.filter(({ off }) => !off),
    }),
  ];
  return routes;
}
