/** What a GGUF file says about itself, as far as Ollama's API tells it. */
export type ModelCard = {
  capability: 'embedding' | 'completion';
  family: string;
  parameters: number;
  quantization: string;
  /** Tokens that the model was trained to see at once. */
  contextLength: number;
  /** The chat template (Jinja); undefined when the file has none: then a prompt is plain text. */
  template: string | undefined;
  license: string | undefined;
  /** The metadata as `general.architecture` and so on, without lists. */
  info: Record<string, string | number | boolean>;
};

/** Reads the header of a GGUF file. @throws when it is not one */
export async function readCard(path: string): Promise<ModelCard> {
  const { readGgufFileInfo, GgufFileType } = await import('node-llama-cpp');
  const file = await readGgufFileInfo(path, { sourceType: 'filesystem', logWarnings: false });
  const info = flatten(file.metadata);
  const family = String(info['general.architecture'] ?? 'unknown');
  let parameters = 0;
  for (const tensor of file.tensorInfo ?? []) {
    parameters += tensor.dimensions.reduce<number>((product, dim) => product * Number(dim), 1);
  }
  const fileType = Number(info['general.file_type']);
  return {
    // Ollama tells an embedding model by the same key.
    capability: `${family}.pooling_type` in info ? 'embedding' : 'completion',
    family,
    parameters,
    quantization: GgufFileType[fileType]?.replace(/^(MOSTLY|ALL)_/, '') ?? 'unknown',
    contextLength: Number(info[`${family}.context_length`] ?? 2048),
    template: info['tokenizer.chat_template']?.toString(),
    license: info['general.license']?.toString(),
    info: { ...info, 'general.parameter_count': parameters },
  };
}

/** Ollama's `details` of a model. */
export function details(card: ModelCard) {
  return {
    parent_model: '',
    format: 'gguf',
    family: card.family,
    families: [card.family],
    parameter_size: readable(card.parameters),
    quantization_level: card.quantization,
  };
}

function readable(count: number): string {
  if (count >= 1e9) return `${(count / 1e9).toFixed(1)}B`;
  if (count >= 1e6) return `${(count / 1e6).toFixed(1)}M`;
  return count >= 1e3 ? `${(count / 1e3).toFixed(1)}K` : String(count);
}

function flatten(value: unknown, prefix = ''): ModelCard['info'] {
  if (typeof value === 'bigint') return { [prefix]: Number(value) };
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return { [prefix]: value };
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return {};
  const entries = Object.entries(value).map(([key, inner]) => flatten(inner, prefix ? `${prefix}.${key}` : key));
  return Object.assign({}, ...entries);
}
