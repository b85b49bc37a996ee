import { sql } from 'kysely';
import type { Db } from '../../src/db/connect.ts';
import type { WorkflowStepTable } from '../../src/db/schema.ts';
import { rescueTasks } from '../../src/db/tasks/repair.ts';
import { type ClaimedTask, claimTasks, settleTasks } from '../../src/db/tasks/run.ts';
import { TaskError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import type { Dispatcher } from '../../src/queues/dispatcher.ts';
import type { Places } from '../../src/queues/places.ts';
import { createRegistry } from '../../src/tasks/index.ts';
import type { Definition } from '../../src/tasks/workflow-definition.ts';
import { advanceOnce } from '../../src/workflows/advance.ts';
import { createWorkflows, type EngineOptions } from '../../src/workflows/engine.ts';
import { runWorkflow } from '../../src/workflows/run.ts';
import { LEASE_MS, settlement } from './tasks.ts';

const MAX_OUTPUT_BYTES = 1_048_576;

/** What became of a task that a worker was given: lost with its worker, or ended so. */
export type Fate = 'lost' | 'failed' | { output: unknown };

/** Works on tasks of workflows one after the other, as workers would, without lanes: what is at work, and what dies, is the test's to say. */
export function createDriver(db: Db, more: Partial<EngineOptions> = {}) {
  const log = createLog((process.env.TEST_LOG_LEVEL as 'silent' | undefined) ?? 'silent');
  const options = {
    db,
    log,
    dispatcher: {
      receive: (tasks) => [...tasks],
      enqueue: async () => true,
      remove: async () => {},
    } as Partial<Dispatcher> as Dispatcher,
    places: { freed: async () => {} } as Partial<Places> as Places,
    registry: createRegistry({ vectors: false }),
    checkUrl: () => undefined,
    maxOutputBytes: MAX_OUTPUT_BYTES,
    window: 200,
    limits: { waiting_tasks: 0, tokens_per_day: 0 },
    ...more,
  };
  const engine = createWorkflows(options);

  async function claim(those: Array<{ id: string }>): Promise<Array<ClaimedTask | undefined>> {
    const ids = those.map(({ id }) => id);
    const rows = await db.selectFrom('tasks').select(['id', 'generation']).where('id', 'in', ids).execute();
    return claimTasks(db, 'w', LEASE_MS, rows);
  }

  async function attemptWorkflow(task: ClaimedTask): Promise<void> {
    const { input, ...definition } = task.input as Definition & { input?: unknown };
    const end = { ...settlement(task.id, task.attempt), follows: true };
    try {
      const asked = { taskId: task.id, input, define: async () => definition };
      const done = await runWorkflow(asked, { db, workflows: engine, maxOutputBytes: MAX_OUTPUT_BYTES });
      const park = { awaiting: 'steps', until_ms: null, signals: task.signals };
      await settleTasks(db, [
        done
          ? { ...end, output: JSON.stringify(done) }
          : { ...end, status: 'running', outcome: 'parked', output: null, park },
      ]);
    } catch (error) {
      if (!(error instanceof TaskError)) throw error;
      const { code, message } = error;
      const failed = { status: 'failed', outcome: 'failed', output: null } as const;
      await settleTasks(db, [{ ...end, ...failed, error: { code, message, retryable: false } }]);
    }
  }

  return {
    engine: {
      ...engine,
      /** Answers once all is done. */
      async sweep(quietMs?: number): Promise<number> {
        const { found, done } = await engine.sweep(quietMs);
        await done;
        return found;
      },
    },
    sweep: engine.sweep,
    /** Has a worker take tasks, and hold them. */
    claim,
    /** Moves a workflow on by one transaction, as somebody does who dies after it. */
    moveOnce: (id: string) => db.transaction().execute((trx) => advanceOnce(trx, id, options)),
    /** Tasks that a worker may take. */
    async waiting(): Promise<
      Array<{ id: string; type: string; title: string | null; input: unknown; parent_id: string | null }>
    > {
      const columns = ['id', 'type', 'title', 'input', 'parent_id'] as const;
      return db.selectFrom('tasks').select(columns).where('status', '=', 'pending').orderBy('id').execute();
    },
    /** Has a worker take a task: a workflow is gone on with, anything else comes to its fate. */
    async work({ id, type }: { id: string; type: string }, fate: Fate): Promise<void> {
      const [task] = await claim([{ id }]);
      if (!task) return;
      if (fate === 'lost') {
        await sql`update tasks set lease_until = now() - interval '1 second' where id = ${id}`.execute(db);
        await rescueTasks(db, 10);
      } else if (type === 'workflow') await attemptWorkflow(task);
      else if (fate === 'failed') {
        const error = { code: 'upstream_rejected', message: 'no', retryable: false };
        const end = settlement(id, task.attempt, { status: 'failed', outcome: 'failed', output: null, error });
        await settleTasks(db, [{ ...end, follows: true }]);
      } else
        await settleTasks(db, [
          { ...settlement(id, task.attempt, { output: JSON.stringify(fate.output) }), follows: true },
        ]);
    },
    /** The steps of a workflow, and what they do for items. */
    async steps(workflowId: string) {
      const rows = await db
        .selectFrom('workflow_steps')
        .selectAll()
        .where('workflow_id', '=', workflowId)
        .orderBy('place')
        .orderBy('item')
        .execute();
      return rows satisfies Array<Pick<WorkflowStepTable, 'step' | 'status'>>;
    },
    close: () => engine.close(),
  };
}

export type Driver = ReturnType<typeof createDriver>;
