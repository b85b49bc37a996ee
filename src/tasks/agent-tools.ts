import type { Usage } from './tools.ts';

/** Whom to ask, one of `agent` and `capability`, and what. */
export interface AgentRequest {
  /** The name or the id of an agent. */
  agent?: string;
  capability?: string;
  input: unknown;
  /** What this call is called among those of the task, which the names of its memos begin with; `agent` where it is not given. */
  as?: string;
}

export interface AgentAnswer {
  agent: { id: string; name: string };
  output: unknown;
  status?: number;
  usage?: Pick<Usage, 'input_tokens' | 'output_tokens'>;
}

export interface AgentTools {
  /**
   * Has an agent do something. Where it is to call back the attempt may end here; the next one asks for the same again.
   * @throws TaskError
   */
  run(request: AgentRequest): Promise<AgentAnswer>;
}
