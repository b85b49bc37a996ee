import type { Db } from '../db/connect.ts';
import type { UserCost } from '../db/costs.ts';
import type { Status } from '../db/schema.ts';
import { beatWorker, type Down, deleteWorker, type LaneDone, type Loading } from '../db/workers.ts';
import { repeat, within } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { Lane } from '../tasks/lanes.ts';
import type { Usage } from '../tasks/tools.ts';
import { metrics } from '../telemetry/metrics.ts';

/** Tells the others that this process works, on what, and how quickly. */
export interface Pulse {
  started(id: string, lane: Lane, task?: Pick<UserCost, 'user_id' | 'type'>): void;
  /** What was started has come to an end, or to a status in which it waits again; what was not started is passed by. */
  ended(id: string, status?: Status, usage?: Usage | null): void;
  /** From now on nobody is told any more. */
  close(): Promise<void>;
}

interface Options {
  db: Db;
  name: string;
  version: string;
  /** How many at a time, by lane. */
  lanes: ReadonlyMap<Lane, number>;
  /** Which dependencies keep failing. */
  down: () => Down[];
  /** Which models are waited for. */
  loading: () => Promise<Loading[]>;
  log: Logger;
  everyMs?: number;
}

const EVERY_MS = 3_000;
const PATIENCE_MS = 2_000;
const ENDS: Status[] = ['completed', 'failed', 'cancelled'];
/** What a task costs there are its tokens: how long it runs depends on who shares the host. */
const IN_TOKENS: Lane[] = ['llm', 'embed'];

/** Starts to tell: at once, and every few seconds. */
export function createPulse({ db, name, version, lanes, down, loading, log, everyMs = EVERY_MS }: Options): Pulse {
  const started_at = new Date(Date.now() - process.uptime() * 1000);
  const running = new Map<string, { lane: Lane; at: number; task: Pick<UserCost, 'user_id' | 'type'> | undefined }>();
  let done = new Map<Lane, LaneDone>();
  let costs = new Map<string, UserCost>();

  function of(lane: Lane): LaneDone {
    const known = done.get(lane) ?? { ...NOTHING, lane };
    done.set(lane, known);
    return known;
  }

  function charge(lane: Lane, { user_id, type }: Pick<UserCost, 'user_id' | 'type'>, cost: number): void {
    const key = `${lane} ${user_id} ${type}`;
    const known = costs.get(key) ?? { lane, user_id, type, runs: 0, cost: 0 };
    costs.set(key, known);
    known.runs++;
    known.cost += cost;
  }

  async function beat(): Promise<void> {
    const counts = Map.groupBy(running.values(), ({ lane }) => lane);
    const work = [...lanes].map(
      ([lane, concurrency]) => [lane, { concurrency, running: counts.get(lane)?.length ?? 0 }] as const,
    );
    for (const [lane, { running }] of work) metrics.workerRunning.set({ lane }, running);
    const said = { name, version, lanes: Object.fromEntries(work), down: down(), loading: await loading(), started_at };
    const told = done;
    const charged = costs;
    done = new Map();
    costs = new Map();
    await within(beatWorker(db, said, [...told.values()], [...charged.values()]), PATIENCE_MS, 'the database');
  }

  // What could not be told is let go: the numbers are for estimates.
  const onError = (error: unknown) => log.debug({ err: error }, 'could not tell that this process works');
  const first = beat().catch(onError);
  const stop = repeat(everyMs, beat, onError);

  return {
    started(id, lane, task) {
      running.set(id, { lane, at: performance.now(), task });
      of(lane).started++;
    },
    ended(id, status, usage) {
      const one = running.get(id);
      if (!one) return;
      running.delete(id);
      if (status === undefined || !ENDS.includes(status)) return;
      const ms = performance.now() - one.at;
      const lane = of(one.lane);
      lane.runs++;
      lane.run_ms += ms;
      lane.run_ms_squared += ms * ms;
      if (status === 'completed') lane.completed++;
      if (status === 'failed') lane.failed++;
      const tokens = (usage?.input_tokens ?? 0) + (usage?.output_tokens ?? 0);
      const cost = IN_TOKENS.includes(one.lane) ? tokens : ms;
      if (one.task && cost > 0) charge(one.lane, one.task, cost);
    },
    async close() {
      await first;
      await stop();
      await within(deleteWorker(db, name), PATIENCE_MS, 'the database').catch(onError);
    },
  };
}

const NOTHING = { started: 0, completed: 0, failed: 0, runs: 0, run_ms: 0, run_ms_squared: 0 };
