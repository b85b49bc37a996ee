import type { Route } from '../route.ts';
import type { RouteParts } from '../routes/index.ts';
import { batchRoutes } from './batches/routes.ts';
import { createCalls } from './calls.ts';
import { chatRoutes } from './chat.ts';
import { embeddingRoutes } from './embeddings.ts';
import { fileRoutes } from './files.ts';
import { modelRoutes } from './models.ts';
import { responseRoutes } from './responses/routes.ts';

/** OpenAI's API over the same queue: what its clients ask below `/v1`. */
export function openAiRoutes(parts: RouteParts): Route[] {
  const calls = createCalls({ ...parts, checkUrl: parts.outbound.check });
  const options = { ...parts, calls };
  return [
    ...modelRoutes(parts),
    ...chatRoutes(options),
    ...embeddingRoutes(options),
    ...responseRoutes(options),
    ...fileRoutes(parts),
    ...batchRoutes(parts),
  ];
}
