import { TaskError } from '../errors.ts';
import type { Usage } from '../tasks/tools.ts';
import { bounded, metrics } from '../telemetry/metrics.ts';
import { inPart } from '../telemetry/tracing.ts';

/** So many models are told apart. */
const MODELS = 20;
export const modelLabel = bounded(MODELS);

/** One call of a model at a host. */
interface Call {
  /** In OpenTelemetry's words. */
  operation: Operation;
  model: string;
  host: string;
  signal: AbortSignal;
}

export type Operation = 'chat' | 'text_completion' | 'embeddings';

/** Measures a call of a model. */
export function measured<T extends { usage: Usage }>(call: Call, work: () => Promise<T>): Promise<T> {
  const { operation, model, host } = call;
  return inPart(
    () => ({
      name: `${operation} ${model}`,
      kind: 'client',
      attributes: {
        'gen_ai.operation.name': operation,
        'gen_ai.provider.name': 'ollama',
        'gen_ai.request.model': model,
        'server.address': host,
      },
    }),
    async (span) => {
      const answered = await count(call, work);
      const { input_tokens, output_tokens, load_ms } = answered.usage;
      span?.setAttributes({
        'gen_ai.response.model': model,
        'gen_ai.usage.input_tokens': input_tokens,
        'gen_ai.usage.output_tokens': output_tokens,
        'sutazai.model.load_ms': load_ms,
      });
      return answered;
    },
  );
}

async function count<T extends { usage: Usage }>(
  { model: name, host, signal }: Call,
  work: () => Promise<T>,
): Promise<T> {
  const labels = { model: modelLabel(name), host };
  const began = performance.now();
  let outcome = 'failed';
  // A load that is counted for the first time has to be seen to grow.
  metrics.modelLoads.inc(labels, 0);
  try {
    const answered = await work();
    const { input_tokens, output_tokens, load_ms } = answered.usage;
    metrics.modelTokens.inc({ ...labels, direction: 'input' }, input_tokens);
    metrics.modelTokens.inc({ ...labels, direction: 'output' }, output_tokens);
    metrics.modelLoadSeconds.inc(labels, load_ms / 1_000);
    outcome = 'ok';
    return answered;
  } catch (error) {
    if (signal.aborted && !(error instanceof TaskError)) outcome = 'stopped';
    throw error;
  } finally {
    metrics.modelCalls.inc({ ...labels, outcome });
    metrics.modelDuration.observe(labels, (performance.now() - began) / 1_000);
  }
}
