import * as v from 'valibot';
import { modelName } from '../../tasks/schemas.ts';
import type { EmbedAnswer } from '../../tasks/tools.ts';
import { answers } from '../answer.ts';
import { replayed } from '../idempotency.ts';
import { defineRoute, type Route } from '../route.ts';
import { invalid } from '../validate.ts';
import type { Calls } from './calls.ts';
import { usageOf } from './chat-answer.ts';
import { type KnownModels, requireModel } from './models.ts';
import { errorOfTask, TASK_STATUSES } from './task-error.ts';

/** The texts to embed, as OpenAI's clients give them. */
export const embeddingRequest = v.strictObject({
  model: modelName,
  input: v.union(
    [v.string(), v.array(v.string())],
    'must be a text or a list of texts: tokens are not taken, because each model has its own',
  ),
  encoding_format: v.nullish(v.picklist(['float', 'base64'], 'must be float or base64')),
  dimensions: v.nullish(v.pipe(v.number(), v.integer('must be a whole number'), v.minValue(1, 'must be at least 1'))),
  user: v.nullish(v.string()),
});

const embeddings = v.strictObject({
  object: v.literal('list'),
  data: v.array(
    v.strictObject({
      object: v.literal('embedding'),
      index: v.number(),
      embedding: v.union([
        v.array(v.number()),
        v.pipe(v.string(), v.description('With `base64`: numbers of 32 bits, the lowest byte first.')),
      ]),
    }),
  ),
  model: v.string(),
  usage: v.strictObject({ prompt_tokens: v.number(), total_tokens: v.number() }),
});

const example: v.InferInput<typeof embeddings> = {
  object: 'list',
  data: [{ object: 'embedding', index: 0, embedding: [0.25, -0.5, 1] }],
  model: 'all-minilm:latest',
  usage: { prompt_tokens: 3, total_tokens: 3 },
};

interface Options extends KnownModels {
  calls: Calls;
}

/** Embeddings as OpenAI's clients ask for them. */
export function embeddingRoutes({ calls, ...options }: Options): Route[] {
  return [
    defineRoute({
      method: 'POST',
      path: '/v1/embeddings',
      summary: "Turn texts into vectors, as OpenAI's clients ask for it",
      body: embeddingRequest,
      example: { model: 'all-minilm', input: 'The cat sits on the mat.' },
      errors: TASK_STATUSES,
      idempotent: 'commit',
      answers: {
        200: answers('The vectors.', embeddings, example, ['X-Task-Id', 'Cache-Control', 'Idempotency-Replayed']),
      },
      handle: async (asked) => {
        const { model, input, dimensions, encoding_format, user } = asked.body;
        const metadata = user ? { user } : {};
        const call = async () => {
          await requireModel(options, asked.principal, model, 'embedding');
          return { type: 'embed', input: { model, fallback: false, input }, metadata };
        };
        const { task, again } = await calls.run(call, asked);
        if (task.status !== 'completed') throw errorOfTask(task);
        const made = task.output as EmbedAnswer;
        if (dimensions != null && dimensions !== made.dimensions)
          throw invalid([{ pointer: '#/dimensions', detail: `must be ${made.dimensions}, which ${made.model} has` }]);
        const { prompt_tokens } = usageOf(task);
        const answer = {
          status: 200,
          body: embeddingsOf(made, encoding_format === 'base64', prompt_tokens),
          headers: { 'X-Task-Id': task.id, 'Cache-Control': 'no-store' },
        };
        return again ? replayed(answer) : answer;
      },
    }),
  ];
}

/** What a task answered, as OpenAI's clients read it. */
export function embeddingsOf(made: EmbedAnswer, base64: boolean, tokens: number): v.InferOutput<typeof embeddings> {
  return {
    object: 'list',
    data: made.embeddings.map((vector, index) => ({
      object: 'embedding',
      index,
      embedding: base64 ? base64Of(vector) : vector,
    })),
    model: made.model,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  };
}

function base64Of(vector: number[]): string {
  const bytes = Buffer.alloc(vector.length * 4);
  for (const [index, value] of vector.entries()) bytes.writeFloatLE(value, index * 4);
  return bytes.toString('base64');
}
