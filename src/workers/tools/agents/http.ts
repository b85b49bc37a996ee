import type { BodyListener } from '../../../clients/outbound.ts';
import { TaskError } from '../../../errors.ts';
import { decodeBody } from '../../../tasks/http-body.ts';
import { keptHeaders } from '../call.ts';
import type { AgentCall, Called } from './caller.ts';
import { createText, eventListener, streamOf, textListener } from './pieces.ts';
import { type Answer, type CalledBack, fromAnswer, requestOf } from './template.ts';

const ACCEPTED = 202;

/** Calls a service with an interface of its own, by its template, and maps what it answers. */
export async function callHttp(call: AgentCall<'http'>): Promise<Called> {
  const { agent, input, name, http, tools, hide, live, callbackUrl, resumed } = call;
  const { config, secrets } = agent;
  if (resumed) return calledBack(call);
  const address = config.async ? callbackUrl() : undefined;
  const { headers, ...request } = requestOf(agent, {
    input,
    secrets,
    ...(address === undefined ? {} : { callback_url: address }),
  });
  const text = createText(config.max_response_bytes, live());
  const asked = http({
    ...request,
    headers: { ...headers, ...(address === undefined ? {} : { 'sutazai-callback': address }) },
    listener: (status, given) =>
      status < 300 ? listenerOf(given['content-type'], config.max_response_bytes, text.add) : undefined,
  });
  const answer = await asked.catch(async (error) => {
    // What it said in the other way counts, whatever became of this one.
    if (address === undefined || !(await tools.recall(`callback:${name}`))) throw error;
    return undefined;
  });
  if (!answer || (config.async && answer.status === ACCEPTED)) return calledBack(call);
  const kept = keptHeaders(answer.headers);
  const { body } = decodeBody(answer.body || hide(text.whole()), kept['content-type']);
  const { status } = answer;
  return { output: mapped(config.response, { status, headers: kept, body }), status };
}

/** An answer that is text, or events, is handed on as it comes; what is mapped then is all of it, of events their data. */
function listenerOf(
  contentType: string | string[] | undefined,
  maxBytes: number,
  add: (text: string) => void,
): BodyListener | undefined {
  const kind = streamOf(contentType);
  return kind && (kind === 'events' ? eventListener : textListener)(maxBytes, add);
}

/** The agent has taken the work, and says what came of it when it has it. */
async function calledBack({ agent: { config }, callback }: AgentCall<'http'>): Promise<Called> {
  const { timeout_seconds, ...mapping } = config.async ?? { timeout_seconds: 0 };
  const body = await callback(null, timeout_seconds);
  return { output: mapped(mapping, { body }), status: ACCEPTED };
}

function mapped({ output, error }: { output?: string; error?: string }, answer: Answer | CalledBack): unknown {
  const failure = fromAnswer(error, answer);
  if (failure !== undefined && failure !== null && failure !== '' && failure !== false) {
    const text = (typeof failure === 'string' ? failure : JSON.stringify(failure)).slice(0, 1_000);
    throw new TaskError('agent_failed', `The agent answered that it has failed: ${text}`);
  }
  return output === undefined ? answer.body : fromAnswer(output, answer);
}
