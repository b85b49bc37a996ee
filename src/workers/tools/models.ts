import type { ModelClient } from '../../clients/ollama.ts';
import type { Tools, Usage } from '../../tasks/tools.ts';
import type { Attempt } from '../attempt.ts';

interface Options {
  models: ModelClient;
  progress: Tools['progress'];
  maxOutputBytes: number;
}

/** The models of the Ollama host, as one attempt calls them. */
export function modelTools(attempt: Attempt, { models, progress, maxOutputBytes }: Options): Tools['models'] {
  const { signal } = attempt;

  /** Notes what a model call used and how far it is. */
  async function model<T extends { model: string }>(
    call: (onText: () => void) => Promise<{ answer: T; usage: Usage }>,
  ): Promise<T> {
    let pieces = 0;
    const { answer, usage } = await call(() => progress(null, `${++pieces} tokens`));
    attempt.model = answer.model;
    attempt.usage = addUsage(attempt.usage, usage);
    return answer;
  }

  return {
    chat: (request) => model((onText) => models.chat(request, { signal, onText, maxBytes: maxOutputBytes })),
    generate: (request) => model((onText) => models.generate(request, { signal, onText, maxBytes: maxOutputBytes })),
    embed: (request) => model(() => models.embed(request, { signal })),
  };
}

function addUsage(a: Usage | null, b: Usage): Usage {
  if (!a) return b;
  return {
    input_tokens: a.input_tokens + b.input_tokens,
    output_tokens: a.output_tokens + b.output_tokens,
    load_ms: a.load_ms + b.load_ms,
    run_ms: a.run_ms + b.run_ms,
  };
}
