import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createReceivers, type Entrance, type Receivers } from '../../src/webhooks/receivers.ts';

const SLOW_MS = 3_000;
const url = (name: string) => `https://${name}.example/hook`;

/** What became of asking: a place, sent away, or still waiting. */
function ask(receivers: Receivers, name: string) {
  const asked: { entrance?: Entrance; leave(): void; state(): string } = {
    leave: () => (asked.entrance as { leave: () => void }).leave(),
    state: () => (!asked.entrance ? 'waits' : 'leave' in asked.entrance ? 'calls' : 'later'),
  };
  void receivers.enter(url(name)).then((entrance) => {
    asked.entrance = entrance;
  });
  return asked;
}

const states = async (all: Array<ReturnType<typeof ask>>) => {
  await vi.advanceTimersByTimeAsync(0);
  return all.map((one) => one.state()).join(' ');
};

describe('receivers of webhooks', () => {
  let receivers: Receivers;
  beforeEach(() => {
    vi.useFakeTimers();
    receivers = createReceivers(8, SLOW_MS);
  });
  afterEach(() => void vi.useRealTimers());

  /** One call that is answered at once. */
  async function answered(name: string) {
    const one = ask(receivers, name);
    await states([one]);
    one.leave();
  }

  it('get one call until they have answered, and half of the places from then on', async () => {
    const all = Array.from({ length: 6 }, () => ask(receivers, 'new'));
    expect(await states(all)).toBe('calls waits waits waits waits waits');
    all[0]?.leave();
    expect(await states(all.slice(1))).toBe('calls calls calls calls waits');
    all[1]?.leave();
    expect(await states(all.slice(5))).toBe('calls');
  });

  it('that are told apart by host and port do not wait for each other', async () => {
    const all = [ask(receivers, 'a'), ask(receivers, 'a'), ask(receivers, 'b')];
    expect(await states(all)).toBe('calls waits calls');
    const entrance = receivers.enter('https://a.example:8443/another');
    expect(await entrance).toHaveProperty('leave');
    let same: Entrance | undefined;
    void receivers.enter('https://A.example/another?path=1').then((got) => {
      same = got;
    });
    await vi.advanceTimersByTimeAsync(0);
    expect(same).toBeUndefined();
  });

  it('that do not answer in time send away who waits for them, at once and from then on', async () => {
    const all = [ask(receivers, 'a'), ask(receivers, 'a')];
    await vi.advanceTimersByTimeAsync(SLOW_MS - 1);
    expect(await states(all)).toBe('calls waits');
    await vi.advanceTimersByTimeAsync(1);
    expect(await states([...all, ask(receivers, 'a')])).toBe('calls later later');
    all[0]?.leave();
    const [probe, next] = [ask(receivers, 'a'), ask(receivers, 'a')];
    expect(await states([probe, next])).toBe('calls later');
    probe.leave();
    expect(await states([ask(receivers, 'a'), ask(receivers, 'a')])).toBe('calls calls');
  });

  it('that are slow have a quarter of the places together', async () => {
    for (const name of ['a', 'b', 'c']) {
      const one = ask(receivers, name);
      await vi.advanceTimersByTimeAsync(SLOW_MS);
      one.leave();
    }
    await answered('quick');
    const all = ['a', 'b', 'c', 'quick', 'new'].map((name) => ask(receivers, name));
    expect(await states(all)).toBe('calls calls later calls calls');
    all[0]?.leave();
    expect(await states([ask(receivers, 'c')])).toBe('calls');
  });

  it('that were quick and hang keep their calls and get no more', async () => {
    await answered('a');
    const all = Array.from({ length: 5 }, () => ask(receivers, 'a'));
    expect(await states(all)).toBe('calls calls calls calls waits');
    await vi.advanceTimersByTimeAsync(SLOW_MS);
    expect(await states([...all, ask(receivers, 'a')])).toBe('calls calls calls calls later later');
    for (const one of all.slice(0, 4)) one.leave();
    expect(await states([ask(receivers, 'a'), ask(receivers, 'a')])).toBe('calls later');
  });

  it('that are slow are asked for ever later, up to minutes, until they are quick again', async () => {
    const first = ask(receivers, 'a');
    await vi.advanceTimersByTimeAsync(SLOW_MS);
    const later = async () => ((await receivers.enter(url('a'))) as { laterMs: number }).laterMs;
    expect(await later()).toBeGreaterThanOrEqual(5_000);
    expect(await later()).toBeLessThan(8_000);
    for (let n = 0; n < 4_000; n++) await later();
    expect(await later()).toBeGreaterThanOrEqual(300_000);
    expect(await later()).toBeLessThanOrEqual(450_000);
    first.leave();
    await answered('a');
    const again = ask(receivers, 'a');
    await vi.advanceTimersByTimeAsync(SLOW_MS);
    expect(await later()).toBeLessThan(8_000);
    again.leave();
  });

  it('that are endpoints are told apart though they share a host', async () => {
    const calls = await Promise.all(['one', 'other'].map((endpoint) => receivers.enter(url('a'), { endpoint })));
    for (const entrance of calls) expect(entrance).toHaveProperty('leave');
    expect(await states([ask(receivers, 'a'), ask(receivers, 'a')])).toBe('calls waits');
  });

  it('that others have seen failing count as slow from the first call, until they are quick', async () => {
    const enter = (n: number) => receivers.enter(url(`a${n}`), { failing: true });
    const entrances = [await enter(0), await enter(1), await enter(2)];
    expect(entrances.map((entrance) => 'leave' in entrance)).toEqual([true, true, false]);
    for (const entrance of entrances) if ('leave' in entrance) entrance.leave();
    expect(await states(Array.from({ length: 4 }, () => ask(receivers, 'a0')))).toBe('calls calls calls calls');
  });

  it('that have not answered so far leave a quarter of the places to those that are quick', async () => {
    await answered('quick');
    const all = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'quick'].map((name) => ask(receivers, name));
    expect(await states(all)).toBe('calls calls calls calls calls calls later calls');
    all[0]?.leave();
    expect(await states([ask(receivers, 'g')])).toBe('calls');
  });

  it('have eight calls at most, however many places there are', async () => {
    receivers = createReceivers(64, SLOW_MS);
    await answered('quick');
    const all = Array.from({ length: 9 }, () => ask(receivers, 'quick'));
    expect(await states(all)).toBe([...Array(8).fill('calls'), 'waits'].join(' '));
  });

  it('are forgotten where there are too many, but not while they are called', async () => {
    const held = ask(receivers, 'held');
    await vi.advanceTimersByTimeAsync(SLOW_MS);
    for (let n = 0; n < 10_001; n++) ((await receivers.enter(url(`n${n}`))) as { leave: () => void }).leave();
    expect(await states([held, ask(receivers, 'held')])).toBe('calls later');
    expect(await states([ask(receivers, 'n0'), ask(receivers, 'n0')])).toBe('calls waits');
    expect(await states([ask(receivers, 'n10000'), ask(receivers, 'n10000')])).toBe('calls calls');
  });
});
