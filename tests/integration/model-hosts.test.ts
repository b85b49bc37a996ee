import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Script, startFakeOllama } from '../support/fake-ollama.ts';
import { gate, refuse, signal, useTwoHosts } from '../support/model-hosts.ts';

const hosts = useTwoHosts();
const hostOf = async (answer: ReturnType<typeof hosts.generate>) => (await answer).served?.host;
const scripted = (script: Script) => () => {
  hosts.a.script = script;
};

describe('the host of a call', () => {
  it('is one that has the model loaded, and else the least busy', async () => {
    hosts.b.loaded = ['tinyllama:latest'];
    expect(await hostOf(hosts.generate())).toBe('host-2');
    const held = gate();
    hosts.b.script = held.script;
    const called = hosts.b.nextCall('/api/generate');
    const first = hosts.generate();
    await called;
    // What has no room is passed by, loaded or not.
    expect(await hostOf(hosts.generate())).toBe('host-1');
    held.open();
    expect(await hostOf(first)).toBe('host-2');
  });

  it('is the one with less to do, whatever that is', async () => {
    const held = gate();
    hosts.a.script = held.script;
    const called = hosts.a.nextCall('/api/embed');
    const vectors = hosts.client.embed({ input: ['x'] }, { signal });
    await called;
    expect(await hostOf(hosts.generate())).toBe('host-2');
    held.open();
    expect((await vectors).served?.host).toBe('host-1');
  });

  it('is one that has the model at all', async () => {
    hosts.b.models.push({ name: 'big:7b', capabilities: ['completion'] });
    for (let n = 0; n < 3; n++) expect(await hostOf(hosts.generate('big:7b'))).toBe('host-2');
    expect(hosts.a.calls).toEqual([]);
  });

  it('is waited for while none has room, in order, and a wait ends with its signal', async () => {
    const held = gate();
    hosts.a.script = held.script;
    hosts.b.script = held.script;
    const both = Promise.all([hosts.a.nextCall('/api/generate'), hosts.b.nextCall('/api/generate')]);
    const running = [hosts.generate(), hosts.generate()];
    await both;
    const stop = new AbortController();
    const order: number[] = [];
    const waiting = [0, 1, 2].map((n) =>
      hosts.generate(undefined, n === 1 ? { signal: stop.signal } : {}).then(() => order.push(n)),
    );
    await expect.poll(() => hosts.client.outlook(undefined)).toBe('full');
    stop.abort(new Error('enough'));
    await expect(waiting[1]).rejects.toThrow('enough');
    expect([hosts.a.calls.length, hosts.b.calls.length]).toEqual([1, 1]);
    held.open();
    await Promise.all([...running, waiting[0], waiting[2]]);
    expect(order.toSorted()).toEqual([0, 2]);
    expect(hosts.a.calls.length + hosts.b.calls.length).toBe(4);
  });

  it('has as many calls of a model as it has slots for, and no more', async () => {
    await hosts.use({ hosts: [hosts.a.url], parallel: 2, maxLoaded: 2 });
    const held = gate();
    hosts.a.script = held.script;
    const calls = [
      hosts.generate(),
      hosts.generate(),
      hosts.generate(),
      hosts.client.embed({ input: ['a'] }, { signal }),
    ];
    await expect.poll(() => hosts.a.calls).toHaveLength(3);
    expect(hosts.a.calls.map(({ path }) => path).toSorted()).toEqual(['/api/embed', '/api/generate', '/api/generate']);
    held.open();
    await Promise.all(calls);
  });
});

describe('a call that finds no room', () => {
  afterEach(() => void vi.useRealTimers());

  it('is not overtaken for ever by calls of a model that follow each other closely', async () => {
    await hosts.use({ hosts: [hosts.a.url], parallel: 2, maxLoaded: 1 });
    await hosts.client.models.list();
    vi.useFakeTimers({ toFake: ['performance'] });
    const ends = new Map<unknown, () => void>();
    hosts.a.script = ({ body }) => new Promise((resolve) => ends.set(body.prompt, () => resolve(false)));
    const text = (prompt: string) => hosts.client.generate({ prompt }, { signal });
    const texts = [text('first'), text('second')];
    await expect.poll(() => [...ends.keys()]).toEqual(['first', 'second']);
    const vector = hosts.client.embed({ input: ['a'] }, { signal });
    ends.get('first')?.();
    await texts[0];
    texts.push(text('third'));
    await expect.poll(() => ends.size).toBe(3);

    vi.advanceTimersByTime(6_000);
    ends.get('second')?.();
    await texts[1];
    expect(hosts.client.outlook(undefined)).toBe('full');
    const last = text('fourth');
    // It waits behind the vector, which waits until nothing of the other model is there.
    ends.get('third')?.();
    await expect.poll(() => hosts.a.calls.at(-1)?.path).toBe('/api/embed');
    expect([...ends.keys()]).toEqual(['first', 'second', 'third', undefined]);
    ends.get(undefined)?.();
    await vector;
    await expect.poll(() => ends.has('fourth')).toBe(true);
    ends.get('fourth')?.();
    await Promise.all([...texts, last]);
  });
});

describe('a host that fails before it said anything', () => {
  it.each<[string, () => Promise<void> | void]>([
    ['is full', scripted(refuse(503))],
    ['asks for fewer calls', scripted(refuse(429, 'slow down'))],
    ['has lost its gateway', scripted(refuse(502, 'bad gateway'))],
    ['cannot load the model', scripted(refuse(500, 'model requires more system memory'))],
    ['has gone since it was asked', () => hosts.a.close()],
    ['has lost the model', () => void hosts.a.models.shift()],
    [
      'dies in the middle of a load',
      scripted((_, response) => {
        setTimeout(() => response.socket?.resetAndDestroy(), 50);
        return true;
      }),
    ],
  ])('and %s hands the call on in the same attempt', async (_, fail) => {
    await hosts.client.models.list();
    await fail();
    const at: string[] = [];
    const { served, answer } = await hosts.generate('tinyllama', { onHost: ({ host }) => at.push(host) });
    expect([at, served?.host]).toEqual([['host-1', 'host-2'], 'host-2']);
    expect(answer).toMatchObject({ text: 'Hello from a scripted host', model_reason: 'requested' });
  });

  it('after its first word keeps the call, and that fails', async () => {
    hosts.a.script = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      response.write('{"response":"Once","done":false}\n', () => setTimeout(() => response.destroy(), 20));
      return true;
    };
    await expect(hosts.generate()).rejects.toMatchObject({
      code: 'upstream_unavailable',
      retryable: true,
      later: false,
    });
    expect(hosts.b.calls).toEqual([]);
  });

  it('does not take the other hosts along: what breaks off is tried at one more, not at all', async () => {
    const c = await startFakeOllama();
    c.loaded = [];
    await hosts.use({ hosts: [hosts.a.url, hosts.b.url, c.url] });
    for (const host of [hosts.a, hosts.b, c])
      host.script = (_, response) => {
        response.socket?.resetAndDestroy();
        return true;
      };
    await expect(hosts.generate()).rejects.toMatchObject({ outage: 'away', later: false });
    expect([hosts.a, hosts.b, c].map(({ calls }) => calls.length)).toEqual([1, 1, 0]);
    await c.close();
  });

  it('is left alone once it keeps failing, and the others do its work', async () => {
    await hosts.client.models.list();
    await hosts.a.close();
    for (let n = 0; n < 6; n++) expect(await hostOf(hosts.generate())).toBe('host-2');
    expect([hosts.client.breaker.state(), hosts.client.down()]).toEqual(['closed', []]);
    const at: string[] = [];
    await hosts.generate(undefined, { onHost: ({ host }) => at.push(host) });
    expect(at).toEqual(['host-2']);
  });

  it('where all are full says so, and costs no attempt', async () => {
    for (const host of [hosts.a, hosts.b]) host.script = refuse(503);
    await expect(hosts.generate()).rejects.toMatchObject({ code: 'upstream_unavailable', later: true, outage: 'away' });
    expect([hosts.a.calls.length, hosts.b.calls.length]).toEqual([1, 1]);
  });

  it('gets fewer calls after it was full, and more again as it answers', async () => {
    await hosts.use({ hosts: [hosts.a.url], parallel: 4, maxLoaded: 1 });
    /** Starts four calls, waits until as many are there as should be at a time, and ends them as the script says. */
    async function round(script: Script, expected: number): Promise<number> {
      const before = hosts.a.calls.length;
      const held = Promise.withResolvers<void>();
      hosts.a.script = async (...given) => {
        await held.promise;
        return script(...given);
      };
      const calls = Promise.allSettled([1, 2, 3, 4].map(() => hosts.generate()));
      await expect.poll(() => hosts.a.calls.length).toBeGreaterThanOrEqual(before + expected);
      await expect.poll(() => hosts.client.outlook(undefined)).toBe('full');
      const at = hosts.a.calls.length - before;
      held.resolve();
      await calls;
      return at;
    }
    expect(await round(refuse(503), 4)).toBe(4);
    for (const expected of [2, 3, 4]) expect(await round(() => false, expected)).toBe(expected);
  });

  it('for one user alone is left alone by that one, and for several by all', async () => {
    await hosts.use({ hosts: [hosts.a.url] });
    hosts.a.script = ({ body }, response) =>
      String(body.prompt ?? body.input).includes('bad') && refuse(500, 'runner has terminated')({} as never, response);
    const ask = (user: string, prompt: string) =>
      hosts.client.generate({ prompt }, { signal, by: [user] }).catch((thrown) => thrown);
    for (let n = 0; n < 5; n++) expect(await ask('eve', 'bad')).toMatchObject({ outage: 'failing' });
    // Who only fails waits, alone; the others do not.
    const turnedAway = await ask('eve', 'bad');
    expect(turnedAway).toMatchObject({
      later: true,
      message: expect.stringMatching(/^What one user asks of the model/),
    });
    expect(await ask('alice', 'good')).toMatchObject({ answer: { text: 'Hello from a scripted host' } });
    expect([hosts.client.breaker.state(), hosts.client.down(), hosts.a.calls.length]).toEqual(['closed', [], 6]);
    for (const user of ['bob', 'carol', 'carol', 'bob', 'bob']) await ask(user, 'bad');
    expect(await ask('alice', 'good')).toMatchObject({ message: expect.stringMatching(/^The model tinyllama:latest/) });
    expect(hosts.client.down()).toEqual(['tinyllama:latest']);
  });
});
