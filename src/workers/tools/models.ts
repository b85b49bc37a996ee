import type { Answered, ModelCall, ModelClient, Served } from '../../clients/ollama.ts';
import type { CallOptions, Tools, Usage } from '../../tasks/tools.ts';
import type { Attempt } from '../attempt.ts';
import { contextTool } from './context.ts';
import { parsedAs } from './structured.ts';

interface Options {
  models: ModelClient;
  /** Hears how many pieces of text a call has made so far. */
  count: (tokens: number) => void;
  emit: Tools['emit'];
  maxOutputBytes: number;
  /** Which models the user of the task may use; asked before each call, because a role can change. */
  mayUse: () => Promise<ModelCall['mayUse']>;
}

/** The models of the Ollama host, as one attempt calls them. */
export function modelTools(
  attempt: Attempt,
  { models, count, emit, maxOutputBytes, mayUse }: Options,
): Tools['models'] {
  const { signal, task } = attempt;
  const by = [task.user_id];

  /** Notes what a model call used and how far it is, and hands its text on. */
  async function model<T extends { model: string }>(
    call: (common: Pick<ModelCall, 'signal' | 'by' | 'onHost' | 'onText' | 'mayUse'>) => Promise<Answered<T>>,
    { signal: own, onUsage }: CallOptions & { onUsage?: (usage: Usage) => void } = {},
  ): Promise<T> {
    let pieces = 0;
    const onText = (text: string) => {
      count(++pieces);
      emit(text);
    };
    const either = own ? AbortSignal.any([signal, own]) : signal;
    const { answer, usage, served } = await call({ signal: either, by, onHost: note, onText, mayUse: await mayUse() });
    note({ ...served, model: answer.model });
    attempt.usage = addUsage(attempt.usage, usage);
    onUsage?.(usage);
    return answer;
  }

  /** Also of a call that fails, the ledger tells where it did. */
  function note({ model: name, host, digest }: { model: string } & Partial<Served>): void {
    attempt.model = name;
    attempt.host = host ?? attempt.host;
    attempt.digest = digest ?? attempt.digest;
  }

  /** What a call for text has besides. */
  const text = (common: ModelCall): ModelCall => ({
    ...common,
    maxBytes: maxOutputBytes,
    onHost(served) {
      note(served);
      attempt.begun?.();
    },
  });

  return {
    async chat(request, options) {
      const { partial, ...asked } = request;
      const answer = await model((common) => models.chat(asked, text(common)), options);
      // A model that calls tools has not answered yet.
      if (answer.message.tool_calls) return answer;
      if (partial && isCut(answer)) return answer;
      return { ...answer, ...parsedAs(asked, answer.message.content, answer.done_reason) };
    },
    async generate(request) {
      const { partial, ...asked } = request;
      const answer = await model((common) => models.generate(asked, text(common)));
      if (partial && isCut(answer)) return answer;
      return { ...answer, ...parsedAs(asked, answer.text, answer.done_reason) };
    },
    async embed(request) {
      let digest: string | undefined;
      const answer = await model(async (common) => {
        const answered = await models.embed(request, common);
        digest = answered.served?.digest;
        return answered;
      });
      return { ...answer, digest };
    },
    pull: async (request, onProgress) => models.pull(request, { signal, onProgress, mayUse: await mayUse() }),
    context: contextTool(models, mayUse),
  };
}

function isCut({ done_reason }: { done_reason: string }): boolean {
  return done_reason === 'length';
}

export function addUsage(a: Usage | null, b: Usage): Usage {
  if (!a) return b;
  return {
    input_tokens: a.input_tokens + b.input_tokens,
    output_tokens: a.output_tokens + b.output_tokens,
    load_ms: a.load_ms + b.load_ms,
    run_ms: a.run_ms + b.run_ms,
  };
}
