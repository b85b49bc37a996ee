import type { TaskRow } from '../db/tasks/read.ts';

/** A task as clients see it. `base` is the address of the API, without a slash at the end. */
export function presentTask(task: TaskRow, base: string) {
  const self = `${base}/api/v1/tasks/${task.id}`;
  return {
    id: task.id,
    type: task.type,
    title: task.title,
    status: task.status,
    priority: task.priority,
    input: task.input,
    output: task.output ?? null,
    error: task.error,
    progress: task.progress,
    attempt: task.attempt,
    max_attempts: task.max_attempts,
    failures: task.failures,
    queue_position: null as number | null,
    metadata: task.metadata,
    tags: task.tags,
    model: task.model,
    usage: task.usage,
    agent_id: task.agent_id,
    parent_id: task.parent_id,
    batch_id: task.batch_id,
    origin_id: task.origin_id,
    schedule_id: task.schedule_id,
    concurrency_key: presentKey(task),
    user_id: task.user_id,
    created_at: task.created_at,
    scheduled_for: task.scheduled_for,
    started_at: task.started_at,
    completed_at: task.completed_at,
    expires_at: task.expires_at,
    cancel_reason: task.cancel_reason,
    payload_deleted_at: task.payload_deleted_at,
    urls: { self, cancel: `${self}/cancel`, retry: `${self}/retry`, events: `${self}/events` },
  };
}

/** What a task says of its concurrency key, as clients see it. */
export function presentKey({ concurrency_key: key, concurrency_limit: limit, concurrency_policy: policy }: TaskRow) {
  return key === null ? null : { key, limit: limit ?? 1, policy: policy ?? ('queue' as const) };
}

export type PresentedTask = ReturnType<typeof presentTask>;
