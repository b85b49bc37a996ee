import { setTimeout as sleep } from 'node:timers/promises';
import { type A2aInterface, readCard } from '../../../agents/a2a/card.ts';
import {
  type A2aAnswer,
  type A2aRequest,
  cancelTask,
  getTask,
  isOver,
  readAnswer,
  sendMessage,
} from '../../../agents/a2a/messages.ts';
import { errorMessage, TaskError } from '../../../errors.ts';
import { AttemptStopped } from '../../attempt.ts';
import type { AgentCall, AgentHttpCall, Called } from './caller.ts';
import { callLost } from './send.ts';
import { headersOf } from './template.ts';

/** What of a task of the agent the next attempt has to know. */
interface Followed {
  face: A2aInterface;
  id: string;
  /** When it is awaited no longer. */
  until: number;
  /** How often it was looked at and left alone again. */
  looks: number;
  /** Whether the agent was told where to call back. */
  push: boolean;
}

/** Many tasks are done by then, and the worker is not needed for anything else in between. */
const SOON_MS = [200, 400, 800];
const MOST_TIMES = 10;
/** How long the agent may take to hear that a task is not wanted any more. */
const CANCEL_MS = 5_000;
/** How soon a task is looked at of which the agent should have told: what it sends may be lost. */
const UNTOLD_SECONDS = 300;

/** Has an agent that speaks A2A do something. It answers with a task, which is followed without holding a worker. */
export async function callA2a(call: AgentCall<'a2a'>): Promise<Called> {
  const { resumed, tools, signal, keep } = call;
  const begun = resumed ? { followed: followedOf(call, resumed.state as Followed | undefined) } : await begin(call);
  if ('output' in begun) return begun;
  const { followed } = begun;
  for (const ms of resumed ? [0] : followed.push ? [] : SOON_MS) {
    const answer = await sleep(ms, undefined, { signal })
      .then(() => look(call, followed))
      .catch(async (error) => {
        if (isCancelled(signal)) await tellCancelled(call, followed);
        throw error;
      });
    if (answer && isOver(answer)) return outputOf(answer);
  }
  const left = Math.ceil((followed.until - Date.now()) / 1_000);
  if (left <= 0)
    throw new TaskError('callback_timeout', 'The agent has not finished the task in time (`wait_seconds`).');
  const seconds = Math.min(left, await pauseOf(call, followed));
  await keep({ ...followed, looks: followed.looks + 1 });
  return tools.park('callback', { untilSeconds: seconds });
}

const isCancelled = ({ reason }: AbortSignal) => reason instanceof AttemptStopped && reason.reason === 'cancelled';

/** The task is not wanted any more; what the agent says to that is nobody's business. */
async function tellCancelled(call: AgentCall<'a2a'>, { face, id }: Followed): Promise<void> {
  const signal = AbortSignal.timeout(CANCEL_MS);
  await ask(call, face, cancelTask(face, id), { repeatable: true, signal }).catch((error) =>
    call.tools.log.warn('the agent was not told of the cancel', { error: errorMessage(error) }),
  );
}

/** What an earlier attempt kept. Its secrets are those of now, and go to no other host than they were given for. */
function followedOf({ agent }: AgentCall<'a2a'>, kept: Followed | undefined): Followed {
  // It called back before it was known as what.
  if (kept === undefined) throw callLost();
  if (new URL(kept.face.url).origin === new URL(agent.base).origin) return kept;
  throw new TaskError('agent_not_found', 'The agent moved to another host while its answer was awaited.');
}

/** Reads the card, sends the message, and keeps what the agent made of it. */
async function begin(call: AgentCall<'a2a'>): Promise<Called | { followed: Followed }> {
  const { agent, input, key, http, callbackUrl, keep } = call;
  const { card_path, push, wait_seconds } = agent.config;
  const card = await http({ method: 'GET', url: agent.base + card_path, headers: headersOf(agent), repeatable: true });
  const face = readCard(card.body, agent.base);
  const address = push && face.push ? addressOf(callbackUrl) : {};
  const answer = await ask(call, face, sendMessage(face, { id: key, input, ...address }));
  if (isOver(answer)) return outputOf(answer);
  const followed: Followed = {
    ...{ face, id: answer.task_id ?? '', looks: 0, push: 'push' in address },
    until: Date.now() + wait_seconds * 1_000,
  };
  await keep(followed);
  return { followed };
}

/** Where the agent may call back; it is looked at again where nobody could. */
function addressOf(callbackUrl: () => string): { push?: string } {
  try {
    return { push: callbackUrl() };
  } catch (error) {
    if (error instanceof TaskError && error.code === 'callback_unavailable') return {};
    throw error;
  }
}

/** How far the task is; nothing where that cannot be told now, for what the agent is at work on is not lost by that. */
async function look(call: AgentCall<'a2a'>, { face, id }: Followed): Promise<A2aAnswer | undefined> {
  try {
    return await ask(call, face, getTask(face, id), { repeatable: true });
  } catch (error) {
    if (!(error instanceof TaskError) || !error.retryable) throw error;
    call.tools.log.warn('the agent did not tell how far its task is', { error: error.message });
    return undefined;
  }
}

async function ask(
  call: AgentCall<'a2a'>,
  face: A2aInterface,
  { headers, ...request }: A2aRequest,
  more: Pick<AgentHttpCall, 'repeatable' | 'signal'> = {},
): Promise<A2aAnswer> {
  const { body } = await call.http({
    ...request,
    headers: { ...headersOf(call.agent), ...headers },
    ...more,
  });
  return readAnswer(face, body);
}

/** How long it is left alone: longer each time, and as long as it likes where it should tell. */
async function pauseOf(call: AgentCall<'a2a'>, { push, looks }: Followed): Promise<number> {
  const told = push && (await call.tools.recall(`callback:${call.name}`)) !== undefined;
  if (push && !told) return UNTOLD_SECONDS;
  return call.agent.config.poll_seconds * Math.min(MOST_TIMES, 2 ** looks);
}

function outputOf({ state, text, data, files, ...ids }: A2aAnswer): Called {
  const said = text === '' ? '' : `: ${text.slice(0, 1_000)}`;
  if (state === 'completed') {
    const more = { ...(data.length > 0 ? { data } : {}), ...(files.length > 0 ? { files } : {}) };
    return { output: { text, ...more, ...ids } };
  }
  if (state === 'failed') throw new TaskError('agent_failed', `The agent answered that it has failed${said}`);
  const what = /_required$/.test(state) ? `asks for more, which a task cannot give it (${state})` : `has ${state} it`;
  throw new TaskError('upstream_rejected', `The agent ${what}${said}`);
}
