import type { ModelClient } from '../clients/model-client.ts';
import { canonicalName } from '../clients/model-names.ts';
import { EgressRefused, type Outbound, type OutboundAnswer } from '../clients/outbound.ts';
import { isSuccess } from '../clients/outcomes.ts';
import { errorCode } from '../clients/upstream.ts';
import { TaskError } from '../errors.ts';
import { ExpressionError } from '../expressions/index.ts';
import { readCard } from './a2a/card.ts';
import type { Agent, AgentOf } from './agent.ts';
import { filledHeaders } from './headers.ts';
import type { Outcome } from './health.ts';
import { HEADERS } from './languages.ts';

/** Asks an agent how it is, by what fits its type. Never throws but for what its signal is aborted with. */
export type Probe = (agent: Agent, signal: AbortSignal) => Promise<Outcome>;

/** What a probe may take at most, its second try included. */
export const PROBE_MS = 5_000;
const LEAST_MS = 1_000;
/** What a probe may take of an agent that is asked so often: what is said of it shall be true within that time, also where it says nothing. */
export const probeMs = (intervalMs: number) => Math.min(PROBE_MS, Math.max(LEAST_MS, intervalMs / 2));
/** An agent that takes longer to say how it is does not do well. */
const SLOW_MS = 2_000;
/** What is gone after so long was no outage. */
const AGAIN_MS = 200;
const MAX_BYTES = 1_048_576;
const COMPLETIONS = '/chat/completions';

/** What was found: why it counts as a failure, or what is not as it should be, where anything is. */
type Found = Pick<Outcome, 'failure' | 'note' | 'status'>;

interface Question {
  method: 'GET' | 'HEAD';
  url: string;
  headers?: Record<string, string> | undefined;
  judge: (answer: OutboundAnswer) => Found;
}

interface Options {
  outbound: Outbound;
  models: Pick<ModelClient, 'models' | 'health'>;
  slowMs?: number | undefined;
}

/** Makes it. What failed is tried once more at once, so that a single lost connection makes no agent go down. */
export function createProbe({ outbound, models, slowMs = SLOW_MS }: Options): Probe {
  async function ask({ judge, url, ...call }: Question, signal: AbortSignal): Promise<Found> {
    try {
      const headers = { 'user-agent': 'SutazAI/1', ...call.headers, 'accept-encoding': 'identity' };
      const answer = await outbound.request(url, { ...call, headers, signal, maxBytes: () => MAX_BYTES });
      return { status: answer.status, ...judge(answer) };
    } catch (error) {
      if (error instanceof EgressRefused) return { failure: error.message };
      signal.throwIfAborted();
      return { failure: `It gave no answer (${errorCode(error) ?? 'what it sent is no HTTP'}).` };
    }
  }

  async function look(agent: Agent, signal: AbortSignal): Promise<Found> {
    if (agent.type !== 'ollama') return ask(questionFor(agent), signal);
    const { aborted, stop } = onAbort(signal);
    try {
      return await Promise.race([lookForModel(models, agent.config.model, signal), aborted]);
    } finally {
      stop();
    }
  }

  return async (agent, signal) => {
    const began = performance.now();
    const late = AbortSignal.timeout(probeMs(agent.config.health.interval_seconds * 1_000));
    const both = AbortSignal.any([signal, late]);
    try {
      const first = await look(agent, both);
      const firstMs = performance.now() - began;
      if (first.failure === undefined) return inTime(first, firstMs, slowMs);
      await pause(AGAIN_MS, both);
      const again = performance.now();
      return inTime(await look(agent, both), performance.now() - again, slowMs);
    } catch (error) {
      signal.throwIfAborted();
      const latencyMs = performance.now() - began;
      if (!late.aborted) throw error;
      return {
        source: 'probe',
        latencyMs,
        failure: `It did not answer within ${Math.round(latencyMs / 1_000)} s.`,
      };
    }
  };
}

function inTime(found: Found, latencyMs: number, slowMs: number): Outcome {
  const slow = latencyMs > slowMs ? { note: `It took ${(latencyMs / 1_000).toFixed(1)} s to answer.` } : {};
  return { source: 'probe', latencyMs, ...slow, ...found };
}

/** What an agent that is somewhere else is asked. */
function questionFor(agent: AgentOf<'http'> | AgentOf<'a2a'> | AgentOf<'openai'>): Question {
  const { base, type, config, secrets } = agent;
  const { health } = config;
  const given = type === 'http' ? config.request.headers : config.headers;
  // One that needs an input is left out, because there is none.
  const headers = filledHeaders(given, HEADERS, { secrets }, (error) => {
    if (!(error instanceof ExpressionError)) throw error;
  });
  if (health.path !== undefined)
    return { method: health.method, url: base + health.path, headers, judge: wantsSuccess };
  if (type === 'a2a')
    return { method: 'GET', url: base + config.card_path, headers, judge: (answer) => judgeCard(answer, base) };
  if (type === 'openai' && config.path.endsWith(COMPLETIONS))
    return {
      method: 'GET',
      url: `${base}${config.path.slice(0, -COMPLETIONS.length)}/models`,
      headers: { ...(secrets.api_key === undefined ? {} : { authorization: `Bearer ${secrets.api_key}` }), ...headers },
      judge: (answer) => judgeModels(answer, config.model),
    };
  return { method: 'HEAD', url: base, headers, judge: wantsAnswer };
}

function wantsSuccess({ status }: OutboundAnswer): Found {
  return isSuccess(status) ? {} : { failure: `It answered ${status}.` };
}

/** Nobody said where it tells how it is: any answer shows that it is there, unless it says itself that it fails. */
function wantsAnswer({ status }: OutboundAnswer): Found {
  return status < 500 || status === 501 ? {} : { failure: `It answered ${status}.` };
}

function judgeCard(answer: OutboundAnswer, base: string): Found {
  if (!isSuccess(answer.status))
    return { failure: `It answered ${answer.status} when it was asked for its agent card.` };
  try {
    readCard(answer.body, base);
    return {};
  } catch (error) {
    if (error instanceof TaskError) return { failure: error.message };
    throw error;
  }
}

function judgeModels({ status, body, cut }: OutboundAnswer, model: string): Found {
  if (status === 401 || status === 403) return { failure: `It refuses its key (${status}).` };
  if (!isSuccess(status)) return wantsAnswer({ status } as OutboundAnswer);
  const listed = cut ? [] : idsIn(body);
  return listed.length === 0 || listed.includes(model) ? {} : { note: `It does not list the model ${model}.` };
}

function idsIn(body: string): string[] {
  try {
    const { data } = JSON.parse(body) as { data?: Array<{ id?: unknown }> };
    return Array.isArray(data) ? data.map((one) => String(one?.id)) : [];
  } catch {
    return [];
  }
}

/** A model of our own hosts has to be on one that answers, or another one answers in its place. */
async function lookForModel({ models, health }: Options['models'], wanted: string | undefined, signal: AbortSignal) {
  const hosts = await health(signal);
  signal.throwIfAborted();
  if (hosts.every(({ version }) => version === undefined)) return { failure: 'No model host answers.' };
  const there = await models.list();
  if (wanted !== undefined && there.some(({ name }) => canonicalName(name) === canonicalName(wanted))) return {};
  const instead = models.guess(wanted, 'completion');
  const missing = wanted === undefined ? 'No model for text is there.' : `The model ${wanted} is not there.`;
  if (models.wouldPull(wanted, 'completion')) return { note: `${missing} The next call has it pulled.` };
  if (instead === undefined) return { failure: missing };
  return wanted === undefined ? {} : { note: `${missing} ${instead} answers in its place.` };
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { aborted, stop } = onAbort(signal);
  try {
    await Promise.race([new Promise((resolve) => setTimeout(resolve, ms)), aborted]);
  } finally {
    stop();
  }
}

/** A promise that is rejected when the signal aborts. */
function onAbort(signal: AbortSignal): { aborted: Promise<never>; stop: () => void } {
  let stop = () => {};
  const aborted = new Promise<never>((_, reject) => {
    const abort = () => reject(signal.reason);
    stop = () => signal.removeEventListener('abort', abort);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
  });
  aborted.catch(() => {});
  return { aborted, stop };
}
