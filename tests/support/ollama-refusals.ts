const story = { model: 'stories15m', prompt: 'Once upon a time' };

/** A request that Ollama's API refuses. */
export type Refusal = { what: string; path: string; body: unknown; status: number; text: string };

/** What each wrong request is answered with; `text` is part of the `error`. */
export const refusals: Refusal[] = (
  [
    ['an unknown model', '/api/generate', { model: 'nobody', prompt: 'x' }, 404, "model 'nobody' not found"],
    [
      'an unknown model to embed',
      '/api/embed',
      { model: 'a', input: 'x' },
      404,
      'model "a" not found, try pulling it first',
    ],
    ['no body', '/api/chat', '', 400, 'missing request body'],
    ['bad JSON', '/api/generate', '{"model":', 400, 'invalid JSON'],
    ['a wrong type', '/api/generate', { model: 5 }, 400, 'invalid request: model'],
    ['no model', '/api/show', {}, 400, 'model is required'],
    [
      'a chat with the embedder',
      '/api/chat',
      { model: 'all-minilm', messages: [] },
      400,
      '"all-minilm" does not support chat',
    ],
    ['writing with it', '/api/generate', { model: 'all-minilm' }, 400, '"all-minilm" does not support generate'],
    [
      'an embedding of the writer',
      '/api/embed',
      { model: 'stories15m', input: 'x' },
      400,
      '"stories15m" does not support embed',
    ],
    ['input that is no text', '/api/embed', { model: 'all-minilm', input: [1] }, 400, 'invalid input type'],
    ['tools', '/api/chat', { ...story, messages: [], tools: [{}] }, 400, '"stories15m" does not support tools'],
    ['thinking', '/api/generate', { ...story, think: true }, 400, '"stories15m" does not support thinking'],
    ['images', '/api/generate', { ...story, images: ['aGk='] }, 400, '"stories15m" does not support images'],
    ['a suffix', '/api/generate', { ...story, suffix: '}' }, 400, '"stories15m" does not support insert'],
    ['an unknown format', '/api/generate', { ...story, format: 'xml' }, 400, 'invalid format: "xml"'],
    ['a bad duration', '/api/generate', { ...story, keep_alive: 'soon' }, 400, 'time: invalid duration "soon"'],
    [
      'an unknown role',
      '/api/chat',
      { model: 'stories15m', messages: [{ role: 'x', content: '' }] },
      400,
      'invalid role: "x"',
    ],
  ] as [string, string, unknown, number, string][]
).map(([what, path, body, status, text]) => ({ what, path, body, status, text }));
