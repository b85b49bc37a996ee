import { agentCalls } from './agents.ts';
import { catalogueCalls } from './catalogue.ts';
import { collectionCalls } from './collections.ts';
import { documentCalls } from './documents.ts';
import { modelCalls } from './models.ts';
import { scheduleCalls } from './schedules.ts';
import { taskCalls } from './tasks.ts';
import { type CallOptions, createTransport, type SutazaiOptions } from './transport.ts';
import { webhookCalls } from './webhooks.ts';
import { workflowCalls } from './workflows.ts';

export type { Agent, AgentChanges, AgentHealth, AgentType, NewAgent } from './agents.ts';
export type { Credentials, TokenPair, TokenStore } from './auth.ts';
export type { Account, QueueInfo, TaskTypeInfo, WorkerInfo } from './catalogue.ts';
export type { Collection, CollectionHit, CollectionSearch, NewCollection } from './collections.ts';
export type { DocumentInfo, NewDocument } from './documents.ts';
export { type FieldError, SutazaiError, TaskFailedError } from './errors.ts';
export type { StreamOptions, TaskEvent, TimelineEvent } from './events.ts';
export type { ModelInfo, Pull } from './models.ts';
export type { Listing, PageQuery } from './pages.ts';
export type { NewSchedule, Schedule } from './schedules.ts';
export type { Attempt, Bulk, BulkResult, CreateOptions, Explanation, RunOptions } from './tasks.ts';
export type { CallOptions, SutazaiOptions } from './transport.ts';
export * from './types.ts';
export type { WaitOptions } from './wait.ts';
export { type VerifyOptions, verifyWebhook, type WebhookEvent } from './webhook.ts';
export type { Delivery, DeliveryAttempt, NewWebhook, WebhookEndpoint } from './webhooks.ts';
export type {
  NewWorkflow,
  Workflow,
  WorkflowDecision,
  WorkflowDefinition,
  WorkflowGraph,
  WorkflowInfo,
  WorkflowNode,
  WorkflowStep,
  WorkflowVersion,
  WorkflowVersionInfo,
} from './workflows.ts';

type Catalogue = ReturnType<typeof catalogueCalls>;
type TaskCalls = ReturnType<typeof taskCalls>;
type Schedules = ReturnType<typeof scheduleCalls>;
type Collections = ReturnType<typeof collectionCalls>;
type Webhooks = ReturnType<typeof webhookCalls>;

/**
 * A client of one SutazAI server: `new Sutazai({ baseUrl, apiKey })`. Needs nothing but `fetch`, Web Streams and Web Crypto, so it
 * runs in Node 20 and newer, in browsers and at the edge. Nothing is asked before the first call. Everything throws {@link SutazaiError}.
 */
export class Sutazai {
  readonly tasks: TaskCalls;
  /** `tasks.run`: hands a task in, waits for it, and throws when it did not succeed. */
  readonly run: TaskCalls['run'];
  readonly schedules: Schedules;
  readonly collections: Collections;
  /** What is in collections by its meaning: texts, pages and files. */
  readonly documents: ReturnType<typeof documentCalls>;
  /** Workflows under names; one runs as a task of the type `workflow`. */
  readonly workflows: ReturnType<typeof workflowCalls>;
  /** Services of yours, and models with tools, that tasks are given to. */
  readonly agents: ReturnType<typeof agentCalls>;
  readonly webhooks: Webhooks['webhooks'];
  readonly deliveries: Webhooks['deliveries'];
  readonly taskTypes: Catalogue['taskTypes'];
  readonly models: ReturnType<typeof modelCalls>;
  readonly queues: Catalogue['queues'];
  readonly workers: Catalogue['workers'];
  readonly me: Catalogue['me'];
  /** Ends the session of the login on the server. */
  readonly logout: (options?: CallOptions) => Promise<void>;

  constructor(options: SutazaiOptions) {
    const transport = createTransport(options);
    this.tasks = taskCalls(transport);
    this.run = this.tasks.run;
    this.schedules = scheduleCalls(transport);
    this.collections = collectionCalls(transport);
    this.documents = documentCalls(transport);
    this.workflows = workflowCalls(transport);
    this.agents = agentCalls(transport);
    const { webhooks, deliveries } = webhookCalls(transport);
    this.webhooks = webhooks;
    this.deliveries = deliveries;
    const { taskTypes, queues, workers, me } = catalogueCalls(transport);
    this.taskTypes = taskTypes;
    this.models = modelCalls(transport);
    this.queues = queues;
    this.workers = workers;
    this.me = me;
    this.logout = async (more = {}) => {
      await transport.send({ method: 'POST', path: '/api/v1/auth/logout', ...more });
    };
  }
}
