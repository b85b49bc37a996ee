import { describe, expect, it } from 'vitest';
import { type Script, sendJson, sendLines, startFakeOllama } from '../support/fake-ollama.ts';
import { client, ollama, use, withModelClient } from '../support/model-client.ts';
import { freePort } from '../support/redis.ts';

withModelClient();

const call = { signal: new AbortController().signal };
const generate = (model?: string) => client.generate({ prompt: 'x', model }, call);
const piece = { response: 'Once', done: false };

describe('a call of the model host', () => {
  const lines =
    (...given: unknown[]): Script =>
    (_, response) => {
      sendLines(response, given);
      return true;
    };
  const json =
    (status: number, error: string): Script =>
    (_, response) => {
      sendJson(response, status, { error });
      return true;
    };
  const cut: Script = (_, response) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    response.write(`${JSON.stringify(piece)}\n`, () => response.destroy());
    return true;
  };
  const html: Script = (_, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Welcome to nginx!</h1>');
    return true;
  };

  it.each<[string, Script, string, boolean]>([
    ['that is busy', json(503, 'server busy'), 'upstream_unavailable', true],
    ['that wants fewer calls', json(429, 'slow down'), 'upstream_rate_limited', true],
    ['that breaks', json(500, 'cuda error'), 'upstream_unavailable', true],
    ['that refuses', json(400, 'invalid options'), 'upstream_rejected', false],
    ['that lost the model', json(404, "model 'x' not found"), 'model_unavailable', true],
    ['that fails in the middle of its answer', lines(piece, { error: 'out of memory' }), 'upstream_protocol', true],
    ['that stops before it is done', lines(piece), 'upstream_protocol', true],
    ['that hangs up', cut, 'upstream_unavailable', true],
    ['that is no model host', html, 'upstream_protocol', true],
  ])('%s has its class of error', async (_, script, code, retryable) => {
    ollama.script = script;
    await expect(generate()).rejects.toMatchObject({ name: 'TaskError', code, retryable });
  });

  it('that nobody answers, is tried again, and the error does not tell where it was', async () => {
    const port = await freePort();
    use({ hosts: [`http://127.0.0.1:${port}`] });
    const error = await generate().catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'upstream_unavailable', retryable: true });
    expect(error.message).not.toContain(String(port));
  });

  it('that stalls between two pieces is given up', async () => {
    await client.close();
    use({ stallMs: 300 });
    ollama.script = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      response.write(`${JSON.stringify(piece)}\n`);
      return true;
    };
    const called = ollama.nextCall('/api/generate');
    await expect(generate()).rejects.toMatchObject({ code: 'upstream_unavailable', retryable: true });
    expect(await (await called).closedEarly).toBe(true);
  });

  it('of a host behind a login says it there, and nowhere it is sent on to', async () => {
    const other = await startFakeOllama();
    const said: Array<string | undefined> = [];
    use({ hosts: [ollama.url.replace('://', '://bob:p%40ss@')] });
    ollama.script = (_, response) => {
      said.push(response.req.headers.authorization);
      response.writeHead(307, { location: `${other.url}/api/generate` }).end();
      return true;
    };
    other.script = (_, response) => {
      said.push(response.req.headers.authorization);
      return false;
    };
    try {
      expect((await generate()).answer.text).toBe('Hello from a scripted host');
    } finally {
      await other.close();
    }
    expect(said).toEqual([`Basic ${Buffer.from('bob:p@ss').toString('base64')}`, undefined]);
  });

  it('that is sent on to itself fails, and the error does not tell where that is', async () => {
    ollama.script = (_, response) => {
      response.writeHead(307, { location: '/api/generate' }).end();
      return true;
    };
    const error = await generate().catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'upstream_protocol', retryable: true });
    expect(error.message).not.toContain('127.0.0.1');
  });

  it('comes whole also where it is longer than what may wait for its reader', async () => {
    const vector = Array.from({ length: 400_000 }, (_, n) => n / 7);
    ollama.script = (_, response) => {
      sendJson(response, 200, { embeddings: [vector] });
      return true;
    };
    expect((await client.embed({ input: ['x'] }, call)).answer.embeddings).toEqual([vector]);
  });

  it('that was cut for length is a success that says so', async () => {
    ollama.script = lines(piece, { response: ' upon', done: true, done_reason: 'length' });
    expect((await generate()).answer).toMatchObject({ text: 'Once upon', done_reason: 'length' });
  });

  it('is given up with its signal, and rejects with the reason of that', async () => {
    ollama.script = () => true;
    const controller = new AbortController();
    const called = ollama.nextCall('/api/generate');
    const answer = client.generate({ prompt: 'x' }, { signal: controller.signal });
    const { closedEarly } = await called;
    controller.abort(new Error('enough'));
    await expect(answer).rejects.toThrow('enough');
    expect(await closedEarly).toBe(true);
  });

  it('streams the text while it is made, and counts what it used', async () => {
    const texts: string[] = [];
    const { usage } = await client.generate({ prompt: 'x' }, { ...call, onText: (text) => texts.push(text) });
    expect(texts.join('')).toBe('Hello from a scripted host');
    expect(usage).toEqual({ input_tokens: 7, output_tokens: 5, load_ms: 10, run_ms: 20 });
  });

  it('answers as many embeddings as there were texts, or fails', async () => {
    const { answer } = await client.embed({ input: ['a', 'b'] }, call);
    expect([answer.embeddings.length, answer.dimensions, answer.model]).toEqual([2, 8, 'all-minilm:latest']);
    ollama.script = (_, response) => {
      sendJson(response, 200, { embeddings: [[1, 2]] });
      return true;
    };
    const wrong = client.embed({ input: ['a', 'b'] }, call);
    await expect(wrong).rejects.toMatchObject({ code: 'upstream_protocol', retryable: true });
  });
});
