/** A chat message in Ollama's words. */
export interface Message {
  role: 'system' | 'user' | 'assistant' | 'tool';
  content: string;
  images?: string[];
  tool_calls?: unknown[];
  tool_name?: string;
}

/** What chat and generate share. */
interface TextRequest {
  model?: string;
  options?: Record<string, unknown>;
  format?: string | Record<string, unknown>;
  keep_alive?: string | number;
}

export interface ChatRequest extends TextRequest {
  messages: Message[];
  tools?: unknown[];
}

export interface GenerateRequest extends TextRequest {
  prompt: string;
  system?: string;
  images?: string[];
}

/** Which model answered, and why that one. */
export interface ModelChoice {
  model: string;
  model_reason: 'requested' | 'default' | 'first_available' | 'pulled';
}

export interface ChatAnswer extends ModelChoice {
  message: Message;
  done_reason: string;
}

export interface GenerateAnswer extends ModelChoice {
  text: string;
  done_reason: string;
}

export interface EmbedAnswer extends ModelChoice {
  embeddings: number[][];
  dimensions: number;
}

export interface Point {
  id?: string | number;
  text?: string;
  vector?: number[];
  payload?: Record<string, unknown>;
}

export interface SearchRequest {
  collection: string;
  query?: string;
  vector?: number[];
  limit?: number;
  filter?: unknown;
  score_threshold?: number;
}

export interface Hit {
  id: string | number;
  score: number;
  payload: Record<string, unknown>;
  text?: string;
}

export interface HttpRequest {
  method: string;
  url: string;
  headers: Record<string, string>;
  body?: string;
}

/** An answer with a status of 2xx. Header names are in lower case; cookies are left out. */
export interface HttpAnswer {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** What a running task is handed. Everything in it belongs to one attempt and stops with its signal. */
export interface Tools {
  /** The models of the Ollama host. */
  models: {
    chat(request: ChatRequest): Promise<ChatAnswer>;
    generate(request: GenerateRequest): Promise<GenerateAnswer>;
    embed(request: { input: string[]; model?: string }): Promise<EmbedAnswer>;
  };
  /** The collections of the task's user, and only those. */
  vectors: {
    upsert(request: {
      collection: string;
      points: Point[];
    }): Promise<{ collection: string; upserted: number; ids: Array<string | number> }>;
    search(request: SearchRequest): Promise<{ hits: Hit[] }>;
  };
  /** URLs that users gave, through the guard against private addresses; other answers than 2xx are thrown. */
  http: {
    request(request: HttpRequest): Promise<HttpAnswer>;
  };
  /** Aborts when the task is cancelled, times out, loses its lease or the worker stops. */
  signal: AbortSignal;
  /** Says how far the work is; `percent` from 0 to 100 or `null` where nobody knows. */
  progress(percent: number | null, message?: string): void;
  log: { info(text: string): void; warn(text: string): void };
  /** The number of this attempt, from 1. */
  attempt: number;
  taskId: string;
}

/** What an attempt used: counts of tokens, times in milliseconds. */
export interface Usage {
  input_tokens: number;
  output_tokens: number;
  load_ms: number;
  run_ms: number;
}
