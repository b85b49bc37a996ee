import { beforeEach, describe, expect, it } from 'vitest';
import { sendLines } from '../support/fake-ollama.ts';
import { client, ollama, use, withModelClient } from '../support/model-client.ts';

withModelClient();

const call = { signal: new AbortController().signal };
const generate = (model?: string) => client.generate({ prompt: 'x', model }, call);

describe('the choice of the model', () => {
  const chosen = async (model?: string) => {
    const { answer } = await generate(model);
    return [answer.model, answer.model_reason];
  };
  beforeEach(() => {
    ollama.models.push({ name: 'big:7b', capabilities: ['completion'] });
  });

  it('is the one that was asked for, else the default, else the first that can do it', async () => {
    expect(await chosen('big:7b')).toEqual(['big:7b', 'requested']);
    expect(await chosen('tinyllama')).toEqual(['tinyllama:latest', 'requested']);
    expect(await chosen('gone')).toEqual(['tinyllama:latest', 'first_available']);
    expect(await chosen()).toEqual(['tinyllama:latest', 'first_available']);
    use({ defaultModel: 'big:7b' });
    expect(await chosen()).toEqual(['big:7b', 'default']);
    expect(await chosen('gone')).toEqual(['big:7b', 'default']);
  });

  it('says which one it stands in for, where that is not there', async () => {
    const missing = async (model?: string) => (await generate(model)).answer.model_missing;
    expect([await missing('gone'), await missing('tinyllama'), await missing()]).toEqual([
      'gone',
      undefined,
      undefined,
    ]);
    use({ defaultModel: 'gone' });
    expect(await missing()).toBe('gone');
    expect(await client.models.select(undefined, 'completion')).toMatchObject({ model_missing: 'gone' });
  });

  it('S45: is never one that is not allowed', async () => {
    use({ allowed: ['big:7b'], autoPull: true });
    expect(await chosen('tinyllama')).toEqual(['big:7b', 'first_available']);
    expect(ollama.calls.some(({ path }) => path === '/api/pull')).toBe(false);
  });

  it('refuses a model that cannot do the work', async () => {
    await expect(generate('all-minilm')).rejects.toMatchObject({ code: 'model_error', retryable: false });
  });

  it('pulls what is missing, when that is allowed', async () => {
    use({ autoPull: true });
    expect(await chosen('phi')).toEqual(['phi:latest', 'pulled']);
    ollama.script = ({ path }, response) => {
      if (path === '/api/pull') sendLines(response, [{ status: 'pulling manifest' }, { error: 'no such model' }]);
      return path === '/api/pull';
    };
    await expect(generate('nothing')).rejects.toMatchObject({ code: 'model_unavailable', retryable: true });
  });

  it('waits for a model where there is none', async () => {
    ollama.models.splice(0, 10, { name: 'all-minilm:latest', capabilities: ['embedding'] });
    await expect(generate()).rejects.toMatchObject({
      code: 'model_unavailable',
      retryable: true,
      message: expect.stringContaining('ollama pull'),
    });
  });

  it('asks for the list once for many calls, and again when a model is gone', async () => {
    const [first] = await Promise.all([client.models.list(), client.models.list(), generate()]);
    expect(first.map(({ name }) => name)).toEqual(['tinyllama:latest', 'all-minilm:latest', 'big:7b']);
    expect(ollama.asked.filter((path) => path === '/api/tags')).toHaveLength(1);
    ollama.models.splice(0, 1);
    await expect(generate('tinyllama')).rejects.toMatchObject({ code: 'model_unavailable' });
    expect(await chosen('tinyllama')).toEqual(['big:7b', 'first_available']);
  });

  it('does without a model that is deleted while it is asked about', async () => {
    const { name } = ollama.models[0]!;
    Object.defineProperty(ollama.models[0], 'name', { get: once(name, 'renamed') });
    expect(await chosen()).toEqual(['big:7b', 'first_available']);
  });
});

/** Answers the first value once, and the second from then on. */
function once<T>(first: T, then: T): () => T {
  let asked = false;
  return () => {
    const value = asked ? then : first;
    asked = true;
    return value;
  };
}
