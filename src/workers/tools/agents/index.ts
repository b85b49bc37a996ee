import { type Agent, agentOf } from '../../../agents/agent.ts';
import { pickAgents } from '../../../agents/pick.ts';
import type { Outbound } from '../../../clients/outbound.ts';
import { type AgentRow, findAgent, findAgentFor } from '../../../db/agents.ts';
import type { Db } from '../../../db/connect.ts';
import { dropMark, findMemos, setAgent, writeMark } from '../../../db/tasks/agent-calls.ts';
import { TaskError } from '../../../errors.ts';
import type { Logger } from '../../../log.ts';
import type { SecretBox } from '../../../secretbox.ts';
import type { AgentAnswer, AgentRequest, Tools } from '../../../tasks/tools.ts';
import type { Attempt } from '../../attempt.ts';
import { measureAgent } from '../../measure.ts';
import { keyOf, patiently } from '../durable.ts';
import { callA2a } from './a2a.ts';
import type { AgentCall, AgentCaller, Called } from './caller.ts';
import { createHiding, hideIn, hideWithin, withoutSecrets } from './hide.ts';
import { callHttp } from './http.ts';
import { callOllama } from './loop.ts';
import { callOpenAi } from './openai.ts';
import { createPlaces } from './places.ts';
import { callLost, createSend } from './send.ts';
import { isRepeatable } from './template.ts';

interface Options {
  db: Db;
  outbound: Outbound;
  box: SecretBox;
  log: Logger;
}

/** On whose behalf an agent is called. */
interface Asker {
  /** Whose agents may be called besides the shared ones; `null` for these alone. */
  userId: string | null;
  /** How many agents called one another on the way here. */
  depth: number;
  signal: AbortSignal;
}

/** What an earlier attempt left of a call. */
interface Left {
  agentId: string;
  /** Whether the agent may not be asked again. */
  once?: boolean;
  /** What the next attempt needs, where the agent is to call back. */
  state?: unknown;
}

const MAX_DEPTH = 3;

const CALLERS: { [T in Agent['type']]: AgentCaller<T> } = {
  ...{ http: callHttp, openai: callOpenAi },
  ...{ a2a: callA2a, ollama: callOllama },
};

/** The agents that one attempt may call. @param tools all that the attempt has, these included */
export function agentTools(attempt: Attempt, tools: () => Tools, options: Options): Tools['agents'] {
  const { db, outbound, box, log } = options;
  const { task } = attempt;
  const send = createSend(attempt, outbound);
  const places = createPlaces(attempt, { db, log });

  async function run({ as: name = 'agent', ...request }: AgentRequest, asker: Asker): Promise<AgentAnswer> {
    const left = await findLeft(name);
    if (left) {
      const row = await findAgent(db, left.agentId);
      if (!row) throw new TaskError('agent_not_found', 'The agent was removed while its answer was awaited.');
      const agent = agentOf(row, box);
      const resumed = { state: left.state };
      return places.awaiting(agent, () => answerOf(agent, { ...request, name, asker, row, resumed }));
    }
    const rows = (await findBegun(name)) ?? (await find(request, asker));
    const { row, agent, permit } = await places.enter(rows.map((one) => ({ row: one, agent: agentOf(one, box) })));
    return places.hold(agent, permit, async () => {
      if (asker.depth === 0) await setAgent(db, task, agent.id);
      if (agent.type === 'ollama') await mark(`${name}.agent`, { agentId: agent.id });
      return answerOf(agent, { ...request, name, asker, row, resumed: undefined });
    });
  }

  /** Notes how far a call is, for whatever attempt comes next. */
  async function mark(name: string, left: Left): Promise<void> {
    if (await patiently(() => writeMark(db, task, name, left), attempt.signal)) return;
    attempt.stop('lost');
    throw attempt.signal.reason;
  }

  /** What to go on with, of a call that an earlier attempt made. @throws TaskError where the agent must not be asked again */
  async function findLeft(name: string): Promise<Left | undefined> {
    if (task.attempt === 1) return undefined;
    const names = [`${name}.awaiting`, `${name}.sent`, `callback:${name}`];
    const marks = await patiently(() => findMemos(db, task.id, names), attempt.signal);
    const sent = marks.get(`${name}.sent`) as Left | undefined;
    const awaiting = marks.get(`${name}.awaiting`) as Left | undefined;
    if (awaiting || (sent && marks.has(`callback:${name}`))) return awaiting ?? sent;
    if (sent?.once) throw callLost();
    return undefined;
  }

  /** The agent whose steps are remembered already: another one would take them for its own. */
  async function findBegun(name: string): Promise<AgentRow[] | undefined> {
    if (task.attempt === 1) return undefined;
    const names = [`${name}.agent`, `${name}.model.1`];
    const marks = await patiently(() => findMemos(db, task.id, names), attempt.signal);
    const begun = marks.get(`${name}.agent`) as Left | undefined;
    if (!begun || !marks.has(`${name}.model.1`)) return undefined;
    const row = await findAgent(db, begun.agentId);
    if (row?.is_active) return [row];
    throw new TaskError('agent_not_found', 'The agent was removed, or switched off, before it was done.');
  }

  /** The agents that may answer, the best first. */
  async function find({ agent, capability }: AgentRequest, { userId, depth }: Asker): Promise<AgentRow[]> {
    if (depth > MAX_DEPTH)
      throw new TaskError('invalid_input', `Agents called one another ${depth} times deep; ${MAX_DEPTH} is the most.`);
    if (agent !== undefined) {
      const row = await findAgentFor(db, userId, agent);
      if (!row) throw new TaskError('agent_not_found', `There is no agent ${agent}.`);
      if (!row.is_active) throw new TaskError('agent_not_found', `The agent ${agent} is switched off.`);
      return [row];
    }
    const rows = await pickAgents(db, { userId, capability: capability ?? '' });
    if (rows.length === 0) throw new TaskError('agent_not_found', `There is no active agent that can ${capability}.`);
    return rows;
  }

  async function answerOf(
    agent: Agent,
    {
      input,
      name,
      asker,
      row,
      resumed,
    }: Pick<AgentCall, 'input' | 'name' | 'resumed'> & { asker: Asker; row: AgentRow },
  ): Promise<AgentAnswer> {
    const { id, config } = agent;
    const key = keyOf(task, name);
    const secrets = Object.values(agent.secrets);
    const call: AgentCall = {
      ...{ agent, input, key, name, attempt, resumed, signal: asker.signal, tools: tools() },
      async http({ method, url, headers = {}, body, repeatable = isRepeatable(method, config.retries), ...more }) {
        const once = !repeatable;
        const marked = once || 'async' in config;
        if (marked) await mark(`${name}.sent`, { agentId: id, once });
        try {
          return await send({
            ...{ method, url, headers, body, key, repeatable },
            timeoutMs: config.timeout_seconds * 1_000,
            maxBytes: config.max_response_bytes,
            ...{ secrets, signal: asker.signal },
            ...more,
          });
        } catch (error) {
          // It was not taken, or the agent said to have left it alone.
          if (once && error instanceof TaskError && error.retryable)
            await patiently(() => dropMark(db, task, `${name}.sent`), attempt.signal);
          throw error;
        }
      },
      hide: (given) => withoutSecrets(given, secrets),
      live: () => createHiding(secrets, (text) => tools().emit(text)),
      run: (request, signal) => run(request, { userId: row.user_id, depth: asker.depth + 1, signal }),
      callbackUrl: () => tools().callbackUrl(name),
      keep: (state) => mark(`${name}.awaiting`, { agentId: id, state }),
      async callback(state, withinSeconds) {
        await call.keep(state);
        return tools().awaitCallback(name, { withinSeconds });
      },
    };
    try {
      const caller = CALLERS[agent.type] as (call: AgentCall) => Promise<Called>;
      const called = await measureAgent(agent, asker.signal, () => caller(call));
      return { agent: { id, name: agent.name }, ...hideWithin(called, secrets) };
    } catch (error) {
      hideIn(error, secrets);
      throw error;
    }
  }

  return { run: (request) => run(request, { userId: task.user_id, depth: 0, signal: attempt.signal }) };
}
