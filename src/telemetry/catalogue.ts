import { STORE_METRICS } from './catalogue-stores.ts';
import { counter, gauge, histogram, type Metric } from './metric.ts';

/** Why somebody was not let in. What of name and password was wrong is not told apart, because that would say which names there are. */
export const AUTH_FAILURES = [
  ...(['no_credential', 'two_credentials', 'other_scheme', 'bad_token', 'bad_key', 'forbidden'] as const),
  ...(['bad_login', 'too_many_failures', 'bad_refresh_token'] as const),
] as const;
const REPAIR_KINDS = [
  ...(['rescued', 'poisoned', 'expired', 'woken', 'promoted', 'called', 'rebuilt', 'orphans'] as const),
  ...(['forgotten', 'emptied', 'epochs_lost'] as const),
] as const;
const AGENT_TYPES = ['http', 'a2a', 'openai', 'ollama'] as const;

const FAST = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const LONG = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600];

/**
 * Every metric of ours. Alerts, dashboards and `docs/monitoring.md` are made from these names, so a name that was released stays.
 * What a label may be is a closed list or a bounded one: no ids, no names that users give, no addresses. Those of
 * the prefix `sutazai_queue_` and `sutazai_agents` are of all processes together, and every API process says the same.
 */
export const CATALOGUE = {
  httpRequests: counter('sutazai_http_requests_total', 'requests answered; `route` is the pattern of the path', [
    'method',
    'route',
    'status_class',
  ]),
  httpDuration: histogram(
    'sutazai_http_request_duration_seconds',
    'from the headers of a request to the head of its answer',
    ['method', 'route', 'status_class'],
    FAST,
  ),
  httpInFlight: gauge('sutazai_http_requests_in_flight', 'requests that are not answered yet', []),
  httpProblems: counter('sutazai_http_problems_total', 'answers that are a problem, by its code', ['code']),
  eventStreams: gauge('sutazai_event_streams_open', 'streams of events that are open', []),
  authFailures: counter('sutazai_auth_failures_total', 'requests and logins that were not let in', ['reason'], {
    reason: AUTH_FAILURES,
  }),

  tasksAccepted: counter('sutazai_tasks_accepted_total', 'tasks stored', ['lane', 'type']),
  tasksEnded: counter(
    'sutazai_tasks_ended_total',
    'tasks that ended, by the status that they ended in; counted by the process that ended them',
    ['lane', 'type', 'status'],
  ),
  attempts: counter(
    'sutazai_attempts_total',
    'attempts that ended, by outcome: `retry` failed and is tried again, `released` was given back without having counted',
    ['lane', 'type', 'outcome'],
  ),
  attemptErrors: counter('sutazai_attempt_errors_total', 'attempts that ended with an error, by its code', [
    'type',
    'code',
  ]),
  taskWait: histogram(
    'sutazai_task_wait_seconds',
    'from when an attempt might have begun until a worker took it',
    ['lane', 'type'],
    LONG,
  ),
  taskRun: histogram(
    'sutazai_task_run_seconds',
    'how long an attempt ran, from its claim to its outcome',
    ['lane', 'type'],
    LONG,
  ),
  fenced: counter(
    'sutazai_settles_fenced_total',
    'late outcomes that changed nothing, because the task had moved on: of workers that were taken for lost',
    ['lane', 'type'],
  ),
  workerRunning: gauge('sutazai_worker_running', 'what this process has at work', ['lane']),

  queueTasks: gauge('sutazai_queue_tasks', 'tasks (in the lane webhook deliveries) that have not ended, by status', [
    'lane',
    'status',
  ]),
  queueOldest: gauge(
    'sutazai_queue_oldest_seconds',
    'how long the oldest of them has been due (`pending`) or at work (`running`); 0 where there is none',
    ['lane', 'status'],
  ),
  queuePaused: gauge('sutazai_queue_paused', '1 where the queue was paused', ['lane']),
  queueJobs: gauge('sutazai_queue_jobs', "BullMQ's jobs, by its states `waiting`, `active` and `delayed`", [
    'lane',
    'state',
  ]),
  queueWorkers: gauge('sutazai_queue_workers', 'processes that serve the queue', ['lane']),
  queueSlots: gauge('sutazai_queue_slots', 'how much they run at a time, together', ['lane']),
  queueCountAge: gauge('sutazai_queue_count_age_seconds', 'how old the counts of the queues are', []),

  modelCalls: counter('sutazai_model_calls_total', 'calls of models, by outcome', ['model', 'host', 'outcome']),
  modelDuration: histogram(
    'sutazai_model_call_duration_seconds',
    'how long calls of models took, the load of the model included',
    ['model', 'host'],
    LONG,
  ),
  modelTokens: counter('sutazai_model_tokens_total', 'tokens, by direction: `input` or `output`', [
    'model',
    'host',
    'direction',
  ]),
  modelLoads: counter('sutazai_model_loads_total', 'times that a model answered which the host had not in memory', [
    'model',
    'host',
  ]),
  modelLoadSeconds: counter('sutazai_model_load_seconds_total', 'how long hosts said that loading took', [
    'model',
    'host',
  ]),
  modelHostUp: gauge('sutazai_model_host_up', '1 where the host answered when it was last asked', ['host']),
  modelHostBusy: gauge('sutazai_model_host_calls', 'calls that this process has under way at the host', ['host']),

  agentCalls: counter(
    'sutazai_agent_calls_total',
    'calls of agents, by the type of the agent and outcome',
    ['agent_type', 'outcome'],
    {
      agent_type: AGENT_TYPES,
      outcome: ['ok', 'failed', 'parked', 'stopped'],
    },
  ),
  agentDuration: histogram(
    'sutazai_agent_call_duration_seconds',
    'how long calls of agents took',
    ['agent_type'],
    LONG,
  ),
  agents: gauge('sutazai_agents', 'agents that are switched on, by how they are', ['state'], {
    state: ['healthy', 'degraded', 'down', 'unknown'],
  }),

  deliveries: counter(
    'sutazai_webhook_deliveries_total',
    'attempts of webhook deliveries, by outcome: `retry` failed and is tried again, `released` was not made',
    ['outcome'],
    { outcome: ['delivered', 'retry', 'failed', 'released'] },
  ),
  deliveryDuration: histogram('sutazai_webhook_delivery_duration_seconds', 'how long receivers took', [], FAST),
  endpointsDisabled: counter('sutazai_webhooks_disabled_total', 'endpoints that were switched off', ['reason'], {
    reason: ['gone', 'failing'],
  }),

  repairs: counter(
    'sutazai_reconciler_repairs_total',
    'what the reconciler repaired, by kind: tasks `rescued` from lost workers or `poisoned` by the third of them, jobs `rebuilt` …',
    ['kind'],
    { kind: REPAIR_KINDS },
  ),
  rounds: counter('sutazai_reconciler_rounds_total', 'rounds that this process made as the leader', []),
  roundSeconds: gauge('sutazai_reconciler_round_seconds', 'how long its last round took', []),
  leader: gauge('sutazai_reconciler_leader', '1 in the process that leads; all together that is one', []),

  dependencyUp: gauge('sutazai_dependency_up', '1 where it works: `database`, `queues`, `models`, `vectors`', [
    'dependency',
  ]),
  redisUp: gauge('sutazai_redis_up', '1 where Redis is connected; not there with the queues in Postgres', []),
  breaker: gauge('sutazai_breaker_state', '0 closed, 1 half open, 2 open, by dependency: `qdrant`, `host-1` …', [
    'dependency',
  ]),
  poolConnections: gauge('sutazai_database_pool_connections', 'connections to Postgres, `used` or `idle`', [
    'pool',
    'state',
  ]),
  poolWaiting: gauge('sutazai_database_pool_waiting', 'statements that wait for a connection', ['pool']),
  ...STORE_METRICS,
  buildInfo: gauge('sutazai_build_info', 'always 1; what runs here', ['version', 'node', 'mode']),
} as const satisfies Record<string, Metric>;
