import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { ModelClient } from '../../src/clients/ollama.ts';
import { type Script, sendJson, sendLines } from '../support/fake-ollama.ts';
import { client, comeBack, ollama, use, withModelClient } from '../support/model-client.ts';
import { freePort } from '../support/redis.ts';

withModelClient();
afterEach(() => void vi.restoreAllMocks());

const { signal } = new AbortController();
const generate = (more: Partial<Parameters<ModelClient['generate']>[1]> = {}, prompt = 'x') =>
  client.generate({ prompt }, { signal, ...more });
const piece = { response: 'Once', done: false };
const text = JSON.stringify(piece);

/** Begins a stream with these bytes; what `then` does comes when they are on their way. */
function begin(bytes: string, then: (response: ServerResponse) => void = () => {}): Script {
  return (_, response) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    response.write(bytes, () => setTimeout(() => then(response), 20));
    return true;
  };
}
const refuse =
  (status: number, error: unknown, headers: Record<string, string> = {}): Script =>
  (_, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    sendJson(response, status, { error });
    return true;
  };

const AWAY = { code: 'upstream_unavailable', retryable: true, outage: 'away' };
const PROTOCOL = { code: 'upstream_protocol', retryable: true, later: false, outage: undefined };
const full = 'server busy, please try again.  maximum pending requests exceeded';

describe('a failure of the model host', () => {
  it.each<[string, Script, object]>([
    ['that its queue is full', refuse(503, full), { ...AWAY, later: true, retryAfterMs: undefined }],
    [
      'that its gateway is full',
      refuse(503, full, { 'retry-after': '7' }),
      { ...AWAY, later: true, retryAfterMs: 7_000 },
    ],
    ['of its gateway', refuse(502, 'bad gateway'), { ...AWAY, later: false }],
    ['of the model', refuse(500, 'model requires more system memory'), { ...AWAY, later: false, outage: 'failing' }],
    ['that it stops', refuse(499, 'request canceled'), { ...AWAY, later: false, outage: undefined }],
    ['of the request', refuse(400, 'invalid options'), { code: 'upstream_rejected', retryable: false }],
    ['by a reset in mid-answer', begin(`${text}\n`, ({ socket }) => socket?.resetAndDestroy()), AWAY],
    ['by the end of the connection', begin(`${text}\n`, (response) => response.destroy()), { ...AWAY, later: false }],
    ['by an end without done', begin(`${text}\n`, (response) => response.end()), PROTOCOL],
    ['by an end in the middle of a line', begin(`${text}\n{"respo`, (response) => response.end()), PROTOCOL],
    ['said in the first line', begin('{"error":"cuda error"}\n', (response) => response.end()), PROTOCOL],
    ['said in a later line', begin(`${text}\n{"error":"cuda error"}\n`), PROTOCOL],
    ['said as an object', begin('{"error":{"message":"cuda error"}}\n'), PROTOCOL],
    ['by a line that is no JSON', begin(`${text}\nnonsense\n`), PROTOCOL],
    ['by a line that is no object', begin(`${text}\nnull\n`), PROTOCOL],
    ['by something else than text', begin('{"response":{"a":1},"done":false}\n'), PROTOCOL],
    ['by a line that does not end', begin(text.repeat(150_000)), PROTOCOL],
  ])('%s has its class, closes the connection and prints nothing', async (_, script, expected) => {
    const printed = [vi.spyOn(console, 'warn'), vi.spyOn(console, 'log'), vi.spyOn(console, 'error')];
    ollama.script = script;
    const called = ollama.nextCall('/api/generate');
    const error = await generate().catch((thrown) => thrown);
    expect(error).toMatchObject({ name: 'TaskError', ...expected });
    expect(error.message.length).toBeLessThan(1_100);
    // Either the fake had ended its answer itself, or it sees that nobody reads on.
    await (await called).closedEarly;
    for (const spy of printed) expect(spy).not.toHaveBeenCalled();
  });

  it('keeps what the host says short', async () => {
    ollama.script = refuse(400, 'no '.repeat(10_000));
    await expect(generate()).rejects.toThrow(/^Ollama refused: no no .{960,999}$/);
  });

  it('that the model is not there is told by status, whatever the text', async () => {
    ollama.script = ({ body, path }, response) => {
      if (path !== '/api/embed') return refuse(404, `model '${body.model}' not found`)({} as never, response);
      ollama.models.pop();
      return false;
    };
    for (const answer of [generate(), client.embed({ input: ['a'] }, { signal })])
      await expect(answer).rejects.toMatchObject({
        code: 'model_unavailable',
        retryable: true,
        message: expect.stringMatching(/not found/),
      });
    expect(client.breaker.state()).toBe('closed');
  });
});

describe('a text beyond the context', () => {
  const LONG = 'one two three four five';
  const calls = {
    generate: () => generate({}, LONG),
    chat: () => client.chat({ messages: [{ role: 'user', content: LONG }] }, { signal }),
    embed: () => client.embed({ input: ['short', LONG] }, { signal }),
  };

  it.each(Object.keys(calls) as Array<keyof typeof calls>)('is refused for good by %s, never cut off', async (name) => {
    ollama.contextWords = 5;
    await expect(calls[name]()).resolves.toBeDefined();
    ollama.contextWords = 4;
    const error = await calls[name]().catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'context_exceeded', retryable: false, later: false, outage: undefined });
    expect(error.message).toMatch(/longer than the context of \S+:latest: shorten or split it/);
  });

  it.each([
    [400, 'input length exceeds maximum context length'],
    [500, 'the input length exceeds the context length'],
    [400, '{"error":{"code":400,"message":"request (8889 tokens) exceeds the available context size (4096 tokens)"}}'],
    [400, 'the prompt is longer than the context length currently available to the model'],
  ])('is known as such in the words of any version: %i %s', async (status, said) => {
    ollama.script = refuse(status, said);
    await expect(generate()).rejects.toMatchObject({ code: 'context_exceeded', retryable: false });
  });

  it('is also known where it is said in the stream', async () => {
    ollama.script = (_, response) => {
      sendLines(response, [{ error: 'the input length exceeds the context length' }]);
      return true;
    };
    await expect(generate()).rejects.toMatchObject({ code: 'context_exceeded', retryable: false });
  });
});

describe('a wait for the model host', () => {
  it('takes as long as it takes to load the model, however short the pauses may be afterwards', async () => {
    use({ stallMs: 300 });
    ollama.script = () => new Promise((resolve) => setTimeout(() => resolve(false), 2_500));
    expect((await generate()).answer.text).toBe('Hello from a scripted host');
  });

  it.each(['/api/tags', '/api/show', '/api/version'])(
    'is bounded for the question %s, and costs no attempt',
    async (path) => {
      const real = AbortSignal.timeout;
      const asked = vi.spyOn(AbortSignal, 'timeout').mockImplementation((ms) => real.call(AbortSignal, ms / 100));
      ollama.everything = (call) => call.path === path;
      if (path === '/api/version') await expect(client.ping(AbortSignal.timeout(10_000))).rejects.toThrow('timeout');
      else await expect(generate()).rejects.toMatchObject({ ...AWAY, later: true });
      expect(asked).toHaveBeenCalledWith(10_000);
    },
  );

  it('ends for good when the answer is larger than it may be, and the model stops writing', async () => {
    const endless: Script = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      const timer = setInterval(() => response.write(`${JSON.stringify(endlessPiece)}\n`), 1);
      response.once('close', () => clearInterval(timer));
      return true;
    };
    let endlessPiece: object = piece;
    ollama.script = endless;
    const tooLarge = { code: 'output_too_large', retryable: false };
    const texts: string[] = [];
    const first = ollama.nextCall('/api/generate');
    const cut = generate({ maxBytes: 100, onText: (given) => texts.push(given) });
    await expect(cut).rejects.toMatchObject(tooLarge);
    expect(texts.join('')).toHaveLength(100);
    expect(await (await first).closedEarly).toBe(true);

    endlessPiece = { message: { role: 'assistant', content: '', tool_calls: [{ function: { name: 'again' } }] } };
    const second = ollama.nextCall('/api/chat');
    const chat = client.chat({ messages: [{ role: 'user', content: 'x' }] }, { signal, maxBytes: 100 });
    await expect(chat).rejects.toMatchObject(tooLarge);
    expect(await (await second).closedEarly).toBe(true);
  });
});

describe('the breaker of the model host', () => {
  const states = () => client.breaker.state();

  it('keeps calls from a host that is gone, and lets them through soon after it is back', async () => {
    const port = await freePort();
    use({ hosts: [`http://127.0.0.1:${port}`] });
    for (let n = 0; n < 5; n++) {
      expect(states()).toBe('closed');
      await expect(generate()).rejects.toMatchObject({ ...AWAY, later: true });
    }
    expect(states()).toBe('open');
    const turnedAway = await generate().catch((thrown) => thrown);
    expect(turnedAway).toMatchObject({ code: 'upstream_unavailable', later: true, outage: undefined });
    expect(turnedAway.message).not.toContain(String(port));
    await ollama.close();
    await comeBack(port);
    await expect.poll(states, { timeout: 2_000 }).toBe('half_open');
    expect((await Promise.all([generate(), generate(), generate()])).map(({ answer }) => answer.text)).toEqual(
      Array(3).fill('Hello from a scripted host'),
    );
    // One question for all three that were waiting.
    expect(ollama.asked.filter((path) => path === '/api/version')).toHaveLength(1);
    expect(states()).toBe('closed');
  });

  it('takes the failures of one model for those of that model', async () => {
    ollama.models.push({ name: 'huge:latest', capabilities: ['completion'] });
    ollama.script = ({ body }, response) =>
      body.model === 'huge:latest' && refuse(500, 'model requires more system memory')({} as never, response);
    const huge = () => client.generate({ prompt: 'x', model: 'huge' }, { signal }).catch((thrown) => thrown);
    for (let n = 0; n < 5; n++) expect(await huge()).toMatchObject({ later: false, outage: 'failing' });
    expect(await huge()).toMatchObject({ later: true, message: expect.stringContaining('The model huge:latest') });
    expect(ollama.calls).toHaveLength(5);
    expect((await generate()).answer.model).toBe('tinyllama:latest');
    expect(states()).toBe('closed');
  });

  it('does not mind what users do', async () => {
    const wrong = refuse(400, 'invalid options');
    for (const script of [wrong, refuse(404, 'not found'), refuse(429, 'slow down'), wrong]) {
      ollama.script = script;
      for (let n = 0; n < 6; n++) await generate().catch(() => {});
    }
    ollama.script = () => true;
    for (let n = 0; n < 6; n++)
      await expect(generate({ signal: AbortSignal.timeout(20) })).rejects.toMatchObject({ name: 'TimeoutError' });
    expect(states()).toBe('closed');
  });
});
