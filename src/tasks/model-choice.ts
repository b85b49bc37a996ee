/** Which model answered, and why that one. */
export interface ModelChoice {
  model: string;
  model_reason: 'requested' | 'default' | 'fallback' | 'first_available' | 'pulled';
  /** The one that was asked for, or is the default, where it is not there and this one stands in for it. */
  model_missing?: string;
}

export interface EmbedAnswer extends ModelChoice {
  embeddings: number[][];
  dimensions: number;
}

/** With the digest of the model, where the hosts tell it. */
export interface Embedded extends EmbedAnswer {
  digest: string | undefined;
}
