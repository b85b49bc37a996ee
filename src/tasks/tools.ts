import type { AgentTools } from './agent-tools.ts';
import type { DurableTools } from './durable.ts';
import type { Embedded, ModelChoice } from './model-choice.ts';
import type { TaskFilter } from './task-filter.ts';
import type { WorkflowTools } from './workflow-tools.ts';

export type { AgentAnswer, AgentRequest } from './agent-tools.ts';
export type { Awaiting, DurableTools } from './durable.ts';
export type { EmbedAnswer, Embedded, ModelChoice } from './model-choice.ts';

/** A chat message in Ollama's words. */
export interface Message {
  role: 'system' | 'user' | 'assistant' | 'tool';
  content: string;
  images?: string[];
  thinking?: string;
  tool_calls?: unknown[];
  tool_name?: string;
}

/** What chat and generate share. */
interface TextRequest {
  model?: string;
  /** Whether another model may answer where the one that is named is not there; it may when not given. */
  fallback?: boolean;
  options?: Record<string, unknown>;
  format?: string | Record<string, unknown>;
  /** Whether an answer in a format that was cut off is taken as it is. */
  partial?: boolean;
  think?: boolean | string;
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

/** What chat and generate answer beside the text. */
interface TextAnswer extends ModelChoice {
  done_reason: string;
  /** The text as JSON, where that was asked for. */
  parsed?: unknown;
}

export interface ChatAnswer extends TextAnswer {
  message: Message & { role: 'assistant' };
}

export interface GenerateAnswer extends TextAnswer {
  text: string;
  thinking?: string;
}

export interface Point {
  id?: string | number;
  text?: string;
  vector?: number[];
  payload?: Record<string, unknown>;
}

/** By what a search goes: likeness of vectors, words, or both merged by reciprocal rank. */
export type SearchMode = 'vector' | 'text' | 'hybrid';

export interface SearchRequest {
  collection: string;
  query?: string;
  vector?: number[];
  /** `vector` where it is not given. */
  mode?: SearchMode;
  limit?: number;
  filter?: unknown;
  score_threshold?: number;
}

export interface Hit {
  id: string | number;
  /** Likeness of the vectors, in the mode `text` how well the words fit, in `hybrid` the sum of the reciprocal ranks, that by words counting less, halved for each better chunk of the same part. */
  score: number;
  /** In the modes that look at words: its place by each, from 1, where it has one. */
  ranks?: { vector: number | null; text: number | null };
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

/** A content that is to be found in a collection: one of `text`, `url` and `file_id`. */
export interface IngestRequest {
  collection: string;
  text?: string;
  url?: string;
  file_id?: string;
  title?: string;
  content_type?: string;
  metadata?: Record<string, unknown>;
  chunk_tokens: number;
  overlap_tokens: number;
}

export interface Ingested {
  document_id: string;
  collection: string;
  title: string | null;
  content_type: string;
  chunks: number;
  /** Whether it is new, stands in the place of an older one of its name, was there already, or gave way to a newer one. */
  outcome: 'stored' | 'replaced' | 'unchanged' | 'outdone';
}

export type LogLevel = 'info' | 'warn';
export type BulkAction = 'cancel' | 'retry' | 'delete';

/** What is to be done to many tasks. */
export interface BulkRequest {
  action: BulkAction;
  filter: TaskFilter;
  /** Whose tasks: those of this user, or of everybody; the submitter's own where it is not given. */
  owner?: string;
  /** The API key that it was asked for with. */
  key_id?: string;
}

/** What became of a part of the tasks that were chosen. */
export interface BulkStep {
  /** Those that the filter chose and the action is for. */
  matched: number;
  changed: number;
  /** Those that had moved on meanwhile, or have no input any more. */
  skipped: number;
  /** Those that a limit of their user kept from waiting again. */
  failed: number;
}

export interface BulkWork {
  /** How many tasks there are to do; `undefined` where they are very many. */
  count(): Promise<number | undefined>;
  /** Does the next part of them; `undefined` once all are done. */
  next(): Promise<BulkStep | undefined>;
}

/** What holds of one call alone. */
export interface CallOptions {
  /** Ends it before its attempt ends. */
  signal?: AbortSignal;
}

/** What a running task is handed. Everything in it belongs to one attempt and stops with its signal. */
export interface Tools extends DurableTools {
  /** The models of the Ollama host. */
  models: {
    /** `onUsage` hears what the call used, which counts for the attempt besides. */
    chat(request: ChatRequest, call?: CallOptions & { onUsage?: (usage: Usage) => void }): Promise<ChatAnswer>;
    generate(request: GenerateRequest): Promise<GenerateAnswer>;
    embed(request: { input: string[]; model?: string; fallback?: boolean }): Promise<Embedded>;
    /** Brings a model to all hosts, or to those with these labels. Hears of bytes, of all hosts together. */
    pull(
      request: { model: string; hosts?: string[] },
      onProgress: (progress: { completed: number; total: number }) => void,
    ): Promise<{ model: string; hosts: Array<{ host: string; digest: string; size: number }> }>;
    /**
     * How many tokens the model takes at a time that such a call would get, as far as it is known, and what counts those of a
     * text; both are estimates, and the call itself may still fail with `context_exceeded`.
     */
    context(request: {
      model?: string;
      fallback?: boolean;
      options?: Record<string, unknown>;
    }): Promise<{ tokens: number; count(text: string): number }>;
  };
  /** The collections of the task's user, and only those. */
  vectors: {
    upsert(request: {
      collection: string;
      points: Point[];
    }): Promise<{ collection: string; upserted: number; ids: Array<string | number> }>;
    search(request: SearchRequest): Promise<{ hits: Hit[] }>;
    delete(request: {
      collection: string;
      ids?: Array<string | number>;
      filter?: unknown;
      all?: true;
    }): Promise<{ collection: string; deleted: number }>;
  };
  /** The documents in collections of the task's user. */
  documents: {
    ingest(request: IngestRequest): Promise<Ingested>;
  };
  /** URLs that users gave, through the guard against private addresses; other answers than 2xx are thrown. */
  http: {
    /** `key` is its `Idempotency-Key`: the id of the task where it is not given, which has one call then. */
    request(request: HttpRequest, call?: CallOptions & { key?: string; maxBytes?: number }): Promise<HttpAnswer>;
  };
  /** Agents of the task's user and shared ones. */
  agents: AgentTools;
  /** Other tasks, as far as whoever submitted this one may steer them at that moment. */
  tasks: {
    bulk(request: BulkRequest): BulkWork;
  };
  /** The steps of the task, where it is a workflow. */
  workflows: WorkflowTools;
  /** Aborts when the task is cancelled, times out, loses its lease or the worker stops. */
  signal: AbortSignal;
  /** Says how far the work is; `percent` from 0 to 100 or `null` where nobody knows. */
  progress(percent: number | null, message?: string): void;
  /** Hands on a piece of text as it is made, to whoever reads the events of the task; it is no part of the output. */
  emit(text: string): void;
  /** Lines for the timeline of the task and the log of the worker; `fields` is what belongs to a line, as JSON. */
  log: Record<LogLevel, (text: string, fields?: Record<string, unknown>) => void>;
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
