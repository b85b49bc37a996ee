import type { ChatHistoryItem, ChatWrapper, LlamaModel, Token } from 'node-llama-cpp';
import { httpError } from './errors.ts';

export type Message = { role: string; content: string };

/** A prompt as tokens, and what ends the answer besides the model's own end-of-text tokens. */
export type Prompt = { tokens: Token[]; stopTokens: Token[]; stopTexts: string[] };

export type PromptOptions = {
  model: LlamaModel;
  /** The template of the model's file; undefined makes the prompt plain text. */
  template: string | undefined;
  /** Tokens the prompt may have. */
  limit: number;
  /** False makes a prompt that is too long an error. */
  truncate: boolean;
};

/** Ollama's default `num_keep`, and the token that begins a text. */
const KEEP_FIRST = 5;

const wrappers = new WeakMap<LlamaModel, ChatWrapper>();

/**
 * Builds the prompt of a chat. A model with a template gets its messages in that form. A model without one, such as
 * stories15m, follows no instructions and knows no roles: it gets the contents of all messages, a line each, as the
 * beginning of a text to go on with. When there is too much, the oldest messages go first, never the system's or the last.
 * @throws 400 when it is too long and must not be truncated
 */
export async function chatPrompt(messages: Message[], options: PromptOptions): Promise<Prompt> {
  let kept = messages;
  for (;;) {
    const prompt = await render(kept, options);
    if (prompt.tokens.length <= options.limit) return prompt;
    const oldest = kept.findIndex((message, i) => message.role !== 'system' && i < kept.length - 1);
    if (!options.truncate || oldest < 0) return { ...prompt, tokens: shorten(prompt.tokens, options) };
    kept = kept.filter((_, i) => i !== oldest);
  }
}

/** Builds a prompt from text that is to reach the model as it is, special tokens included. */
export function rawPrompt(text: string, options: PromptOptions): Prompt {
  const tokens = begin(options.model, options.model.tokenize(text, true));
  return { tokens: shorten(tokens, options), stopTokens: [], stopTexts: [] };
}

async function render(messages: Message[], { model, template }: PromptOptions): Promise<Prompt> {
  if (template === undefined) {
    const text = messages.map((message) => message.content).filter((content) => content !== '');
    return { tokens: begin(model, model.tokenize(text.join('\n'))), stopTokens: [], stopTexts: [] };
  }
  const wrapper = await wrapperOf(model);
  const state = wrapper.generateContextState({ chatHistory: history(messages) });
  const stops = state.stopGenerationTriggers.map((trigger) => trigger.tokenize(model.tokenizer));
  return {
    tokens: begin(model, state.contextText.tokenize(model.tokenizer)),
    stopTokens: stops.flatMap((tokens) => (tokens.length === 1 ? tokens : [])),
    stopTexts: stops.flatMap((tokens) => (tokens.length > 1 ? [model.detokenize(tokens)] : [])),
  };
}

async function wrapperOf(model: LlamaModel): Promise<ChatWrapper> {
  const known = wrappers.get(model);
  if (known) return known;
  const { resolveChatWrapper } = await import('node-llama-cpp');
  const wrapper = resolveChatWrapper(model, { warningLogs: false });
  wrappers.set(model, wrapper);
  return wrapper;
}

/** The library's form of a chat: it ends with the model's answer, empty unless the client began it. */
function history(messages: Message[]): ChatHistoryItem[] {
  const items = messages.map(({ role, content }): ChatHistoryItem => {
    if (role === 'system') return { type: 'system', text: content };
    return role === 'assistant' ? { type: 'model', response: [content] } : { type: 'user', text: content };
  });
  return items.at(-1)?.type === 'model' ? items : [...items, { type: 'model', response: [] }];
}

function begin(model: LlamaModel, tokens: Token[]): Token[] {
  const { bos, shouldPrependBosToken } = model.tokens;
  if (bos !== null && tokens[0] !== bos && (shouldPrependBosToken || tokens.length === 0)) return [bos, ...tokens];
  return tokens;
}

/** Keeps the first few tokens and the newest, as Ollama's runner does. */
function shorten(tokens: Token[], { limit, truncate }: PromptOptions): Token[] {
  if (tokens.length <= limit) return tokens;
  if (!truncate) throw httpError(400, 'the input length exceeds the context length');
  const first = Math.min(KEEP_FIRST, Math.floor(limit / 2));
  return [...tokens.slice(0, first), ...tokens.slice(tokens.length - (limit - first))];
}
