/**
 * The lanes: one BullMQ queue each, with workers and limits of its own, so that slow kinds of work do not hold up quick
 * ones. `concurrency` is how many tasks one worker process runs at a time unless it is told otherwise.
 */
export const LANE_DEFAULTS = {
  llm: { concurrency: 2, about: 'text generation' },
  embed: { concurrency: 32, about: 'embeddings' },
  vector: { concurrency: 8, about: 'vector upserts and searches' },
  agent: { concurrency: 8, about: 'calls of HTTP agents' },
  webhook: { concurrency: 64, about: 'webhook deliveries' },
  system: { concurrency: 16, about: 'everything short' },
} as const;

export type Lane = keyof typeof LANE_DEFAULTS;

export const LANES = Object.keys(LANE_DEFAULTS) as [Lane, ...Lane[]];
