import type { AgentType } from '../db/schema.ts';
import type { ClaimedTask, Settlement } from '../db/tasks/run.ts';
import { TaskError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { TaskType } from '../tasks/define.ts';
import { metrics } from '../telemetry/metrics.ts';
import { inPart, inSpan, say } from '../telemetry/tracing.ts';
import { type Attempt, Parked } from './attempt.ts';

/** Begins at 0 with what hardly ever happens: counted for the first time, it has to be seen to grow. */
export function beginCounting(types: ReadonlyArray<Pick<TaskType, 'lane' | 'name'>>): void {
  for (const { lane, name } of types) metrics.fenced.inc({ lane, type: name }, 0);
}

/** Does the work of an attempt, which has just been claimed, as a part of the trace of its task. */
export function measureAttempt<T>(task: ClaimedTask, work: () => Promise<T>): Promise<T> {
  const { lane, type, waited_seconds } = task;
  metrics.taskWait.observe({ lane, type }, Math.max(0, waited_seconds));
  return inSpan(
    () => ({
      name: `process ${lane}`,
      kind: 'consumer',
      parent: task.traceparent,
      attributes: {
        'messaging.system': 'bullmq',
        'messaging.operation.name': 'process',
        'messaging.operation.type': 'process',
        'messaging.destination.name': lane,
        'messaging.message.id': task.id,
        'sutazai.task.type': type,
        'sutazai.task.attempt': task.attempt,
        'sutazai.task.waited_seconds': waited_seconds,
        ...(task.request_id ? { 'sutazai.request_id': task.request_id } : {}),
      },
    }),
    work,
  );
}

/** What a line of the log says of the attempt that it is about. */
export function idsOf({ id, attempt, request_id }: Pick<ClaimedTask, 'id' | 'attempt' | 'request_id'>) {
  return { task_id: id, attempt, ...(request_id ? { request_id } : {}) };
}

/** The outcome of an attempt was written, or, `fenced`, changed nothing any more. */
export function noteEnd(
  { task, leasedAt }: Attempt,
  { outcome, error }: Pick<Settlement, 'outcome' | 'error'>,
  { fenced, log }: { fenced: boolean; log: Logger },
): void {
  const { lane, type } = task;
  if (fenced) {
    metrics.fenced.inc({ lane, type });
    say({ 'sutazai.task.outcome': 'fenced' }, 'fenced');
    log.warn(idsOf(task), 'a late outcome changed nothing: the task had moved on');
    return;
  }
  const ms = performance.now() - leasedAt;
  metrics.attempts.inc({ lane, type, outcome });
  metrics.taskRun.observe({ lane, type }, ms / 1_000);
  if (error) metrics.attemptErrors.inc({ type, code: error.code });
  say({ 'sutazai.task.outcome': outcome }, error?.code);
  if (log.isLevelEnabled('debug'))
    log.debug({ ...idsOf(task), type, outcome, code: error?.code, ms: Math.round(ms) }, 'an attempt ended');
}

/** Measures one call of an agent. */
export function measureAgent<T>(
  { id, name, type }: { id: string; name: string; type: AgentType },
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  const attributes = { 'gen_ai.operation.name': 'invoke_agent', 'gen_ai.agent.id': id, 'gen_ai.agent.name': name };
  return inPart(
    () => ({ name: `invoke_agent ${name}`, kind: 'client', attributes: { ...attributes, 'sutazai.agent.type': type } }),
    () => countAgent(type, signal, work),
  );
}

async function countAgent<T>(agent_type: AgentType, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  let outcome = 'failed';
  try {
    const answer = await work();
    outcome = 'ok';
    return answer;
  } catch (error) {
    if (error instanceof Parked) outcome = 'parked';
    else if (signal.aborted && !(error instanceof TaskError)) outcome = 'stopped';
    throw error;
  } finally {
    metrics.agentCalls.inc({ agent_type, outcome });
    metrics.agentDuration.observe({ agent_type }, (performance.now() - began) / 1_000);
  }
}
