import type { ChatAnswer, ChatRequest, EmbedAnswer, GenerateAnswer, GenerateRequest, Usage } from '../tasks/tools.ts';
import type { BreakerState } from './breaker.ts';
import type { Outlook, Pulled, PullProgress, Removal } from './hosts/index.ts';
import type { ModelCatalogue, Selecting } from './models.ts';

/** What a call of a model belongs to. */
export interface ModelCall {
  signal: AbortSignal;
  /** Whose it is; of several where the texts of several are embedded together. What fails for one user keeps no other one away. */
  by?: readonly string[];
  /** Hears each piece of text as it is made. */
  onText?: (text: string) => void;
  /** The call is broken off when the answer has more. */
  maxBytes?: number;
  /** Hears which host was chosen, before it is called; again where another one is. */
  onHost?: (served: Served & { model: string }) => void;
  /** Which models may be used; all when not given. */
  mayUse?: Selecting['mayUse'];
}

/** A host as this process knows it, without having asked. */
export interface HostState {
  host: string;
  /** How many calls of this process it has. */
  calls: number;
  breaker: BreakerState;
}

/** What a pull belongs to. */
export interface PullCall {
  signal: AbortSignal;
  onProgress?: (progress: PullProgress) => void;
  mayUse?: Selecting['mayUse'];
}

/** How a host is. */
export interface HostHealth {
  host: string;
  /** Not there where it does not answer. */
  version: string | undefined;
}

export interface Answered<T> {
  answer: T;
  usage: Usage;
  /** Who answered: the label of the host, and the digest that the model has there. What is remembered has no host. */
  served?: Partial<Served>;
}

export interface Served {
  host: string;
  digest: string | undefined;
}

/** The Ollama hosts, with our choice of model and host and our classes of error. */
export interface ModelClient {
  models: ModelCatalogue;
  /** Whether any host takes calls; each has a breaker of its own, and each model on it one besides. */
  breaker: { state(): BreakerState };
  /** What is left alone because it keeps failing: all hosts (`null`), or models wherever they are. */
  down(): Array<string | null>;
  /** Models that calls of this process wait for while a host loads them. */
  loading(): Promise<Array<{ model: string; requested: boolean }>>;
  /** What a call of this model, or of the default one for text, would meet now. Asks nobody, so it may be asked often. */
  outlook(model: string | undefined): Outlook;
  /** How many more calls of it could begin now where it is in memory. */
  room(model: string | undefined): number;
  /** Whether calls of the two may come to the same host. */
  meet(one: string | undefined, other: string | undefined): boolean;
  /** Hears whenever an outlook may be another. Answers what ends that. */
  onChange(listener: () => void): () => void;
  chat(request: ChatRequest, call: ModelCall): Promise<Answered<ChatAnswer>>;
  generate(request: GenerateRequest, call: ModelCall): Promise<Answered<GenerateAnswer>>;
  embed(
    request: { input: string[]; model?: string; fallback?: boolean },
    call: ModelCall,
  ): Promise<Answered<EmbedAnswer>>;
  /**
   * Brings a model to all hosts, or to those with these labels.
   * @throws TaskError `model_unavailable` where a host could not get it; `forbidden` for a model that may not be used
   */
  pull(request: { model: string; hosts?: string[] }, call: PullCall): Promise<{ model: string; hosts: Pulled[] }>;
  /** Deletes a model from every host that has it. */
  remove(model: string): Promise<Removal[]>;
  /** The labels of the hosts. */
  hosts: readonly string[];
  hostStates(): HostState[];
  /** Whether each host answers, and what version it is. */
  health(signal: AbortSignal): Promise<HostHealth[]>;
  /** The version that the first host reports that answers. @throws when none can be reached */
  ping(signal: AbortSignal): Promise<string>;
  close(): Promise<void>;
}
