import type { Backend, FaultCase } from './case.ts';
import { judge, type Verdict } from './oracle.ts';
import { createRig, type Rig } from './rig.ts';
import { emptyLanes, type Footprint, footprint, footprintAfter, growth, settle } from './settle.ts';
import { lasting, quantile } from './wait.ts';

/** What one case came to. */
export interface Result {
  fault: FaultCase;
  backend: Backend;
  seconds: number;
  verdict: Verdict | undefined;
  notes: string[];
  /** Empty where everything is as it must be. */
  problems: string[];
}

const WITHIN_SECONDS = 120;
const READY_AGAIN_MS = 15_000;
const LOOKS = 10;

/** Builds a rig, makes the fault, and judges what is left. */
export async function runCase(fault: FaultCase, backend: Backend, folder: string, template: string): Promise<Result> {
  const started = Date.now();
  const result: Result = { fault, backend, seconds: 0, verdict: undefined, notes: [], problems: [] };
  let rig: Rig | undefined;
  try {
    rig = await createRig(folder, template, backend, fault.topology);
    const deadline = (fault.withinSeconds ?? WITHIN_SECONDS) * 1000;
    const work = examine(fault, rig, result, deadline);
    // What is still under way when the time is over fails because the rig is taken down.
    work.catch(() => {});
    await limited(work, deadline, 'the whole case');
  } catch (error) {
    result.problems.push(error instanceof Error ? error.message : String(error));
  } finally {
    result.notes = rig?.notes ?? [];
    await rig?.close();
    result.seconds = (Date.now() - started) / 1000;
    if (result.problems.length > 0) result.problems.push(`logs: ${folder}`);
  }
  return result;
}

async function examine(fault: FaultCase, rig: Rig, result: Result, deadline: number): Promise<void> {
  await warmUp(rig);
  const before = await footprint(rig);
  try {
    await fault.run(rig);
  } catch (error) {
    // What it left behind is looked at all the same: a fault that was not healed may hide it, though.
    result.problems.push(error instanceof Error ? error.message : String(error));
  }
  const note = (error: unknown) => void result.problems.push((error as Error).message);
  if (!rig.mayLeaveTasks) await settle(rig, deadline).catch(note);
  result.verdict = await judge(rig);
  result.problems.push(...result.verdict.violations);
  if (!rig.mayLeaveTasks && !rig.mayMissWebhooks) result.problems.push(...(await emptyLanes(rig)));
  result.problems.push(...(await leftOver(before, rig)));
  // I8: it says that it is ready once it is.
  await rig.readiness.becomes('ready', READY_AGAIN_MS).catch((error) => result.problems.push(`I8: ${error.message}`));
}

/** I6. A leak stays; what is only on its way back is given some seconds. */
async function leftOver(before: Footprint, rig: Rig): Promise<string[]> {
  let found: string[] = [];
  for (let look = 0; look < LOOKS; look++) {
    found = growth(before, await footprintAfter(rig, before), rig.mayLeaveTasks);
    if (found.length === 0) break;
    await lasting(1_000);
  }
  return found;
}

/** What the first requests open is not a leak. */
async function warmUp(rig: Rig): Promise<void> {
  const ids = await rig.client.load(
    Array.from({ length: 40 }, () => ({ type: 'echo', input: { message: 'warm' } })),
    { insist: true },
  );
  if (ids.length !== 40) throw new Error('the rig did not take its first tasks');
  if (rig.workers.length > 0) await settle(rig, 30_000);
  await rig.readiness.becomes('ready', READY_AGAIN_MS);
}

async function limited<T>(work: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took more than ${ms / 1000} s`)), ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** One line for the terminal. */
export function renderLine({ fault, backend, seconds, verdict, notes, problems }: Result): string {
  const ok = problems.length === 0;
  const figures = verdict
    ? [
        `${verdict.accepted} accepted`,
        `${verdict.lost} lost`,
        `${verdict.duplicated} duplicated`,
        ...(verdict.rescues.length > 0 ? [rescueFigure(verdict.rescues)] : []),
      ]
    : [];
  const head = `${ok ? 'ok  ' : 'FAIL'} ${fault.id.padEnd(4)} ${backend.padEnd(9)} ${seconds.toFixed(1).padStart(6)} s  ${fault.title}`;
  const tail = [...figures, ...notes].join('; ');
  return [head, ...(tail ? [`       ${tail}`] : []), ...problems.map((text) => `       ! ${text}`)].join('\n');
}

/** The median and the longest of the times of rescue. */
export function rescueFigure(rescues: number[]): string {
  const seconds = (part: number) => (quantile(rescues, part) / 1000).toFixed(1);
  return `rescue p50 ${seconds(0.5)} s, p100 ${seconds(1)} s (${rescues.length})`;
}
