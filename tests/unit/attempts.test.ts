import { describe, expect, it } from 'vitest';
import type { ClaimedTask } from '../../src/db/tasks/run.ts';
import { AttemptStopped, createRunningAttempts } from '../../src/workers/attempt.ts';
import type { Claimed } from '../../src/workers/claims.ts';

const task = (attempt: number, timeout_ms = 60_000): Claimed => ({
  task: { id: 'a', attempt, timeout_ms } as ClaimedTask,
  askedAt: 0,
});

describe('the register of running attempts', () => {
  it('stops an attempt whose task came back to this process as another', () => {
    const running = createRunningAttempts();
    const [zombie, present] = [running.start(task(1)), running.start(task(2))];
    expect(zombie.signal.reason).toEqual(new AttemptStopped('lost'));
    expect(present.signal.aborted).toBe(false);
    running.end(zombie);
    expect(running.list()).toEqual([present]);
    running.end(present);
    expect(running.list()).toEqual([]);
  });

  it('stops what starts after everything was stopped', () => {
    const running = createRunningAttempts();
    running.stopAll('shutdown');
    const late = running.start(task(1));
    expect(late.signal.reason).toEqual(new AttemptStopped('shutdown'));
    running.end(late);
  });

  it('stops what is cancelled, and not what runs again since', () => {
    const running = createRunningAttempts();
    const attempt = running.start(task(3));
    for (const said of ['cancelling a 2', 'cancelling b 3', 'changed a', 'ended a']) running.hear(said);
    expect(attempt.signal.aborted).toBe(false);
    running.hear('cancelling a 3');
    expect(attempt.signal.reason).toEqual(new AttemptStopped('cancelled'));
    running.end(attempt);
    // As a process of an earlier version says it.
    const next = running.start(task(4));
    running.hear('cancelling a');
    expect(next.signal.reason).toEqual(new AttemptStopped('cancelled'));
    running.end(next);
  });

  it('keeps the first reason', async () => {
    const running = createRunningAttempts();
    const attempt = running.start(task(1, 5));
    await new Promise((resolve) => attempt.signal.addEventListener('abort', resolve, { once: true }));
    attempt.stop('cancelled');
    expect(attempt.signal.reason).toEqual(new AttemptStopped('timeout'));
    running.end(attempt);
  });
});
