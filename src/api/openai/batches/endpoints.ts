import type { TaskRow } from '../../../db/tasks/read.ts';
import type { EmbedAnswer } from '../../../tasks/tools.ts';
import { invalid, parseBody } from '../../validate.ts';
import { completionOf, usageOf } from '../chat-answer.ts';
import { CHAT_PLACES, chatInputOf, chatRequest } from '../chat-request.ts';
import { embeddingRequest, embeddingsOf } from '../embeddings.ts';
import { responseOf, tagsOf } from '../responses/answer.ts';
import { RESPONSE_PLACES, responseInputOf, responseRequest } from '../responses/request.ts';

/** What a line of a batch may ask for: how its body becomes a task, and that task the body of an answer. */
interface Endpoint {
  type: string;
  /** @throws ProblemError for a body that is not valid */
  request(body: unknown): { input: unknown; metadata?: Record<string, unknown>; tags?: string[] };
  /** Where a field of the input stands in the body. */
  places: ReadonlyArray<readonly [input: string, body: string]>;
  answer(task: TaskRow): unknown;
}

/** The endpoints of batches, by path. */
export const ENDPOINTS: Record<string, Endpoint> = {
  '/v1/chat/completions': {
    type: 'chat',
    request(given) {
      const body = parseBody(chatRequest, given);
      if (body.stream) throw invalid([{ pointer: '#/stream', detail: 'must be false in a batch' }]);
      return { input: chatInputOf(body), metadata: { ...body.metadata, ...(body.user ? { user: body.user } : {}) } };
    },
    places: CHAT_PLACES,
    answer: completionOf,
  },
  '/v1/responses': {
    type: 'chat',
    request(given) {
      const body = parseBody(responseRequest, given);
      const alone = (['stream', 'background', 'previous_response_id'] as const).filter((name) => body[name]);
      if (alone.length > 0)
        throw invalid(alone.map((name) => ({ pointer: `#/${name}`, detail: 'is not taken in a batch' })));
      return { input: responseInputOf(body), metadata: body.metadata ?? {}, tags: tagsOf(body) };
    },
    places: RESPONSE_PLACES,
    answer: responseOf,
  },
  '/v1/embeddings': {
    type: 'embed',
    request(given) {
      const { model, input, encoding_format, dimensions, user } = parseBody(embeddingRequest, given);
      if (encoding_format === 'base64')
        throw invalid([{ pointer: '#/encoding_format', detail: 'must be float in a batch' }]);
      if (dimensions != null) throw invalid([{ pointer: '#/dimensions', detail: 'is not taken in a batch' }]);
      return { input: { model, fallback: false, input }, metadata: user ? { user } : {} };
    },
    places: [],
    answer: (task) => embeddingsOf(task.output as EmbedAnswer, false, usageOf(task).prompt_tokens),
  },
};
