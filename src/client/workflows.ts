import { type Listing, listing, type PageQuery } from './pages.ts';
import type { CreateOptions } from './tasks.ts';
import type { Call, CallOptions, Transport } from './transport.ts';
import type { TaskFailure } from './types.ts';

/** A step of a workflow; docs/workflows.md says more of each field. */
export interface WorkflowStep {
  id: string;
  /** A task type, or `approval`. */
  type: string;
  title?: string;
  /** The input of its task; expressions stand in its texts as `${{ … }}`. */
  input?: unknown;
  /** Steps that have to end before it, besides those that its expressions name. */
  needs?: string[];
  /** An expression; where it gives false the step is skipped. */
  when?: string;
  /** A list, or an expression that gives one: a task for each `item` of it. */
  for_each?: string | unknown[];
  /** How many items of `for_each` are at work at a time. */
  max_parallel?: number;
  retry?: { max_attempts: number };
  timeout_seconds?: number;
  on_failure?: 'fail' | 'continue' | 'compensate';
  /** The task that undoes this step. */
  compensate?: { type: string; input?: unknown };
  /** 1 is first, 10 last. */
  priority?: number;
  concurrency_key?: { key: string; limit?: number };
  /** How long an approval waits. */
  expires_in_seconds?: number;
  /** The user names of those who may decide; its owner and operators where it is not given. */
  approvers?: string[];
}

/** What a workflow does: its steps, and a template of what it gives. */
export interface WorkflowDefinition {
  steps: WorkflowStep[];
  output?: unknown;
}

/** A stored workflow in a list. */
export interface WorkflowInfo {
  id: string;
  name: string;
  description: string | null;
  /** The last one, which runs where none is named. */
  version: number;
  step_count: number;
  created_at: string;
  updated_at: string;
  urls: { self: string; versions: string };
}

/** A stored workflow with the definition of its last version. */
export type Workflow = WorkflowInfo & Required<WorkflowDefinition>;

export interface WorkflowVersionInfo {
  id: string;
  name: string;
  version: number;
  step_count: number;
  created_by: string;
  created_at: string;
}

export type WorkflowVersion = WorkflowVersionInfo & Required<WorkflowDefinition>;

export type NewWorkflow = WorkflowDefinition & { name: string; description?: string | null };

type StepStatus = 'waiting' | 'ready' | 'running' | 'awaiting' | 'completed' | 'failed' | 'skipped' | 'cancelled';

/** A step as it stands. */
export interface WorkflowNode {
  id: string;
  type: string;
  title: string | null;
  status: StepStatus;
  /** Its task, once there is one. */
  task_id: string | null;
  error: TaskFailure | null;
  /** Of a step with `for_each`, once its list is known. */
  items: Record<'total' | 'waiting' | 'running' | 'completed' | 'failed' | 'skipped' | 'cancelled', number> | null;
  approval: {
    /** `null`: its owner, and operators. */
    approvers: string[] | null;
    expires_at: string | null;
    decision: { approved: boolean; by: string; comment: string | null; at: string } | null;
  } | null;
  /** The task of `compensate`, where the step is undone. */
  undo: { status: 'ready' | 'running' | 'completed' | 'failed'; task_id: string | null } | null;
  started_at: string | null;
  ended_at: string | null;
}

/** The steps of a workflow that runs or ran, and what each waits for. */
export interface WorkflowGraph {
  task_id: string;
  phase: 'waiting' | 'forward' | 'stopping' | 'undoing' | 'ended' | 'restart' | 'anew';
  /** All its steps, by status. */
  counts: Partial<Record<StepStatus, number>>;
  nodes: WorkflowNode[];
  edges: Array<{ from: string; to: string }>;
}

export interface WorkflowDecision {
  task_id: string;
  step: string;
  approved: boolean;
  by: string;
  comment: string | null;
}

/** The calls for stored workflows. */
export function workflowCalls(transport: Transport) {
  const path = (name: string, below = '') => `/api/v1/workflows/${encodeURIComponent(name)}${below}`;
  const send = async <T>(call: Call) => (await transport.send<T>(call)).body;

  return {
    /** Newest first, without their steps. */
    list: (query: PageQuery = {}, options?: CallOptions): Listing<WorkflowInfo> =>
      listing<WorkflowInfo>(transport, '/api/v1/workflows', { ...query }, options),

    /** Stores a workflow as its version 1. */
    create: (workflow: NewWorkflow, options: CreateOptions = {}) =>
      send<Workflow>({ method: 'POST', path: '/api/v1/workflows', body: workflow, creates: true, ...options }),

    get: (name: string, options: CallOptions = {}) => send<Workflow>({ method: 'GET', path: path(name), ...options }),

    /** Other steps are a new version; the same ones again are none. */
    update: (name: string, change: Partial<Omit<NewWorkflow, 'name'>>, options: CallOptions = {}) =>
      send<Workflow>({ method: 'PATCH', path: path(name), body: change, ...options }),

    /** With all its versions; what has begun goes on. */
    delete: (name: string, options: CallOptions = {}) => send<void>({ method: 'DELETE', path: path(name), ...options }),

    versions: (name: string, query: PageQuery = {}, options?: CallOptions): Listing<WorkflowVersionInfo> =>
      listing<WorkflowVersionInfo>(transport, path(name, '/versions'), { ...query }, options),

    version: (name: string, version: number, options: CallOptions = {}) =>
      send<WorkflowVersion>({ method: 'GET', path: path(name, `/versions/${version}`), ...options }),
  };
}

/** The calls for tasks that are workflows. */
export function workflowTaskCalls(transport: Transport) {
  const path = (id: string, below: string) => `/api/v1/tasks/${encodeURIComponent(id)}${below}`;

  const decide =
    (verb: 'approve' | 'reject') =>
    async (id: string, step: string, { comment, ...options }: CallOptions & { comment?: string } = {}) => {
      const call: Call = { method: 'POST', path: path(id, `/${verb}`), body: { step, comment }, ...options };
      return (await transport.send<WorkflowDecision>(call)).body;
    };

  return {
    /** Where all the steps of a workflow stand. */
    async graph(id: string, options: CallOptions = {}): Promise<WorkflowGraph> {
      let whole: WorkflowGraph | undefined;
      for (let cursor: string | undefined; ; ) {
        const query = { limit: 1_000, ...(cursor === undefined ? {} : { cursor }) };
        const call: Call = { method: 'GET', path: path(id, '/graph'), query, ...options };
        const { next_cursor, ...page } = (await transport.send<WorkflowGraph & { next_cursor: string | null }>(call))
          .body;
        whole = whole
          ? { ...page, nodes: [...whole.nodes, ...page.nodes], edges: [...whole.edges, ...page.edges] }
          : page;
        if (next_cursor === null) return whole;
        cursor = next_cursor;
      }
    },

    /** Lets a workflow go on that waits for a human at this step. */
    approve: decide('approve'),

    /** Says no: the step fails. */
    reject: decide('reject'),
  };
}
