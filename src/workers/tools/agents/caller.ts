import type { AgentOf } from '../../../agents/agent.ts';
import type { OutboundAnswer, OutboundCall } from '../../../clients/outbound.ts';
import type { AgentType } from '../../../db/schema.ts';
import type { AgentAnswer, AgentRequest, Tools } from '../../../tasks/tools.ts';
import type { Attempt } from '../../attempt.ts';

/** A call of an agent over HTTP. */
export interface AgentHttpCall {
  method: string;
  url: string;
  /** In lower case. */
  headers?: Record<string, string>;
  body?: string;
  /** Whether it may be sent again where nobody knows what became of it; by its method and the word of the agent where not given. */
  repeatable?: boolean;
  /** The largest answer that is taken; what the agent is configured for where not given. */
  maxBytes?: number;
  /** Ends it; that of the call where not given. */
  signal?: AbortSignal;
  listener?: OutboundCall['listener'];
}

/** One call of an agent within an attempt of a task, with all that the code of its type needs. */
export interface AgentCall<T extends AgentType = AgentType> {
  /** Nothing of its secrets may be answered or logged. */
  agent: AgentOf<T>;
  input: unknown;
  /** The Idempotency-Key: the same over all attempts, another one after the user has the task run again. */
  key: string;
  /** What the names of its memos begin with. */
  name: string;
  attempt: Attempt;
  /** That of the attempt, or of whichever agent called this one, where it has less time. */
  signal: AbortSignal;
  tools: Tools;
  /** Through the guard, bounded in size and time, without secrets in what comes back; other answers than 2xx are thrown. */
  http(call: AgentHttpCall): Promise<OutboundAnswer>;
  /** A text without the secrets of the agent, which some hosts send back. */
  hide(text: string): string;
  /** Hands the pieces of a text on to whoever reads the task while they come, without those secrets. */
  live(): { add(piece: string): void; end(): void };
  /** Calls another agent, on behalf of this one: a shared agent reaches shared ones alone. */
  run(request: AgentRequest & { as: string }, signal: AbortSignal): Promise<AgentAnswer>;
  /** The address at which the agent may call back, once. */
  callbackUrl(): string;
  /** Keeps what the next attempt needs, which finds the call `resumed`: the agent is at work on it. Replaces what was kept before. */
  keep(state: unknown): Promise<void>;
  /**
   * What the agent called back with. Until it has, the attempt ends here; the next one finds the call `resumed`, and has
   * to ask for this again.
   * @param state JSON that the next attempt needs
   * @throws TaskError `callback_timeout` when so many seconds are over
   */
  callback(state: unknown, seconds: number): Promise<unknown>;
  /** Where an earlier attempt has made the call already, and the agent was to call back: what it left. */
  resumed: { state: unknown } | undefined;
}

/** What the code of a type makes of a call. */
export type Called = Omit<AgentAnswer, 'agent'>;

/** How agents of one type are called. @throws TaskError; with `outage` where the agent as a whole is to blame */
export type AgentCaller<T extends AgentType> = (call: AgentCall<T>) => Promise<Called>;
