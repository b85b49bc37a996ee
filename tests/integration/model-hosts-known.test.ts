import { describe, expect, it, vi } from 'vitest';
import { gate, refuse, signal, useTwoHosts } from '../support/model-hosts.ts';
import { freePort } from '../support/redis.ts';

const hosts = useTwoHosts();

describe('models that hosts do not have alike', () => {
  it('are listed once, with who has them, which, and whether they are loaded', async () => {
    hosts.a.loaded = ['tinyllama:latest'];
    hosts.b.models = [
      { name: 'tinyllama:latest', capabilities: ['completion'], digest: 'newer', context_length: 2048 },
      { name: 'big:7b', capabilities: ['completion', 'tools'], context_length: 32_768 },
    ];
    const list = await hosts.client.models.list();
    expect(list.map(({ name, hosts: at }) => [name, at])).toEqual([
      [
        'tinyllama:latest',
        [
          { host: 'host-1', digest: 'sha256:tinyllama:latest', loaded: true, up: true },
          { host: 'host-2', digest: 'newer', loaded: false, up: true },
        ],
      ],
      ['all-minilm:latest', [{ host: 'host-1', digest: 'sha256:all-minilm:latest', loaded: false, up: true }]],
      ['big:7b', [{ host: 'host-2', digest: 'sha256:big:7b', loaded: false, up: true }]],
    ]);
    expect(list[2]).toMatchObject({ capabilities: ['completion', 'tools'], context_length: 32_768 });
  });

  it('are told apart by digest where vectors are made, and named in what is answered', async () => {
    hosts.b.models[1]!.digest = 'another';
    const served = [];
    for (let n = 0; n < 4; n++) served.push((await hosts.client.embed({ input: ['x'] }, { signal })).served);
    expect(new Set(served.map((one) => JSON.stringify(one)))).toEqual(
      new Set(['{"host":"host-1","digest":"sha256:all-minilm:latest"}']),
    );
    hosts.a.script = refuse(503);
    await expect(hosts.client.embed({ input: ['x'] }, { signal })).rejects.toMatchObject({ later: true });
    expect(hosts.b.calls).toEqual([]);
  });

  it('wait for a host that is down and has them, and are not replaced by others', async () => {
    hosts.b.models.push({ name: 'big:7b', capabilities: ['completion'] });
    await hosts.client.models.list();
    await hosts.b.close();
    await hosts.client.models.list(true);
    await expect(hosts.generate('big:7b')).rejects.toMatchObject({ code: 'upstream_unavailable', later: true });
    expect((await hosts.client.models.list()).find(({ name }) => name === 'big:7b')?.hosts).toMatchObject([
      { up: false },
    ]);
  });

  it('are waited for where only this one will do, as long as a host has not said what it has', async () => {
    await hosts.use({ hosts: [hosts.a.url, `http://127.0.0.1:${await freePort()}`] });
    const wanted = { prompt: 'x', model: 'big:7b' };
    expect((await hosts.client.generate(wanted, { signal })).answer).toMatchObject({ model_missing: 'big:7b' });
    const only = hosts.client.generate({ ...wanted, fallback: false }, { signal });
    await expect(only).rejects.toMatchObject({ code: 'upstream_unavailable', later: true });
  });

  it('fail as missing where only this one will do and no host has it', async () => {
    const only = hosts.client.generate({ prompt: 'x', model: 'big:7b', fallback: false }, { signal });
    await expect(only).rejects.toMatchObject({ code: 'model_unavailable', retryable: true });
    await expect(only).rejects.toThrow(/big:7b.*takes no other/);
  });

  it('are replaced by the first of the fallback list that is there and can do the work', async () => {
    hosts.a.models.push({ name: 'big:7b', capabilities: ['completion'] });
    await hosts.use({ fallbacks: ['gone', 'all-minilm', 'big:7b', 'tinyllama'], defaultModel: 'tinyllama' });
    expect((await hosts.generate('wanted')).answer).toMatchObject({
      ...{ model: 'big:7b', model_reason: 'fallback', model_missing: 'wanted' },
    });
    expect((await hosts.generate()).answer).toMatchObject({ model: 'tinyllama:latest', model_reason: 'default' });
  });
});

describe('what a call would meet', () => {
  it('is known without asking, and whoever listens hears when it changes', async () => {
    expect(hosts.client.outlook('tinyllama')).toBe('load');
    hosts.a.loaded = ['tinyllama:latest'];
    await hosts.client.models.list();
    expect([hosts.client.outlook('tinyllama'), hosts.client.outlook(undefined), hosts.client.outlook('gone')]).toEqual(
      Array(3).fill('loaded'),
    );
    expect(hosts.client.outlook('all-minilm')).toBe('load');
    const held = gate();
    hosts.a.script = held.script;
    const asked = hosts.a.asked.length;
    let changes = 0;
    const off = hosts.client.onChange(() => changes++);
    const called = hosts.a.nextCall('/api/generate');
    const running = hosts.generate();
    await called;
    expect(hosts.client.outlook('tinyllama')).toBe('load');
    hosts.b.script = held.script;
    const second = hosts.generate();
    await hosts.b.nextCall('/api/generate');
    expect(hosts.client.outlook('tinyllama')).toBe('full');
    const before = changes;
    held.open();
    await Promise.all([running, second]);
    expect(changes).toBeGreaterThan(before);
    expect(hosts.client.outlook('tinyllama')).toBe('loaded');
    off();
    expect(hosts.a.asked.slice(asked).filter((path) => path === '/api/tags')).toEqual([]);
  });

  it('is a loaded model while it is being loaded, and from its first word on', async () => {
    await hosts.use({ hosts: [hosts.a.url], parallel: 2 });
    const held = gate();
    hosts.a.script = held.script;
    const called = hosts.a.nextCall('/api/generate');
    const running = hosts.generate();
    await called;
    expect(hosts.client.outlook('tinyllama')).toBe('loaded');
    held.open();
    await running;
    expect(hosts.client.outlook('tinyllama')).toBe('loaded');
  });

  it('is none at a host that is left alone', async () => {
    await hosts.client.models.list();
    await hosts.a.close();
    const at: string[] = [];
    for (let n = 0; at.filter((host) => host === 'host-1').length < 5 && n < 20; n++) {
      hosts.b.script = refuse(503);
      await hosts.generate('tinyllama', { onHost: ({ host }) => at.push(host) }).catch(() => {});
      hosts.b.script = undefined;
      await hosts.generate('tinyllama').catch(() => {});
    }
    const held = gate();
    hosts.b.script = held.script;
    const called = hosts.b.nextCall('/api/generate');
    const running = hosts.generate();
    await called;
    expect(hosts.client.outlook('tinyllama')).toBe('full');
    held.open();
    expect((await running).served?.host).toBe('host-2');
  });

  it('is watched while hosts are in use, and hosts that nobody uses are left alone', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    try {
      await hosts.client.models.list();
      expect(hosts.client.outlook('tinyllama')).toBe('load');
      hosts.b.loaded = ['tinyllama:latest'];
      const heard = new Promise<void>((resolve) =>
        hosts.client.onChange(() => hosts.client.outlook('tinyllama') === 'loaded' && resolve()),
      );
      vi.advanceTimersByTime(3_000);
      await heard;
      vi.advanceTimersByTime(40_000);
      await expect.poll(() => hosts.client.models.guess(undefined, 'completion')).toBeDefined();
      const asked = hosts.b.asked.length;
      expect(vi.getTimerCount()).toBe(0);
      vi.advanceTimersByTime(600_000);
      await new Promise((resolve) => setImmediate(resolve));
      expect(hosts.b.asked.length - asked).toBeLessThan(4);
    } finally {
      vi.useRealTimers();
    }
  });
});
