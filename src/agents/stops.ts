import * as v from 'valibot';
import type { Outbound } from '../clients/outbound.ts';
import { type StoppedCall, takeStoppedCalls } from '../db/agent-calls.ts';
import { findAgent } from '../db/agents.ts';
import type { Db } from '../db/connect.ts';
import { errorMessage } from '../errors.ts';
import { repeat } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { SecretBox } from '../secretbox.ts';
import { cancelTask } from './a2a/messages.ts';
import { agentOf } from './agent.ts';
import { filledHeaders } from './headers.ts';
import { HEADERS } from './languages.ts';

interface Options {
  db: Db;
  box: SecretBox;
  outbound: Outbound;
  log: Logger;
  everyMs?: number;
}

const EVERY_MS = 1_000;
const AT_ONCE = 20;
const TIMEOUT_MS = 5_000;
const MAX_BYTES = 4_000;

/** What is kept of a task of an agent that speaks A2A. */
const followed = v.looseObject({
  id: v.pipe(v.string(), v.minLength(1)),
  face: v.looseObject({
    ...{ url: v.string(), tenant: v.optional(v.string()), push: v.optional(v.boolean(), false) },
    ...{ binding: v.picklist(['JSONRPC', 'HTTP+JSON']), version: v.picklist(['1.0', '0.3']) },
  }),
});

/**
 * Tells agents that speak A2A that a task of theirs is not wanted any more, where the task that waited for it was cancelled while no worker
 * held it. Each is told once; what the agent says to that is nobody's business. Any number of processes may do it.
 */
export function createStopTeller({ db, box, outbound, log, everyMs = EVERY_MS }: Options): { close(): Promise<void> } {
  const closing = new AbortController();

  async function tell({ agent_id, task_id, kept }: StoppedCall): Promise<void> {
    const row = await findAgent(db, agent_id);
    if (row?.type !== 'a2a') return;
    const { base, config, secrets } = agentOf(row, box);
    for (const one of kept) {
      const known = v.safeParse(followed, one);
      // Its secrets go to no other host than they were given for.
      if (!known.success || new URL(known.output.face.url).origin !== new URL(base).origin) continue;
      const { url, headers, method, body } = cancelTask(known.output.face, known.output.id);
      const own = filledHeaders(
        (config as { headers?: Record<string, string> }).headers,
        HEADERS,
        { secrets },
        () => {},
      );
      await outbound.request(url, {
        ...{ method, ...(body === undefined ? {} : { body }), maxBytes: () => MAX_BYTES },
        headers: { 'user-agent': 'SutazAI/1', ...own, ...headers, 'x-request-id': task_id },
        signal: AbortSignal.any([closing.signal, AbortSignal.timeout(TIMEOUT_MS)]),
      });
    }
  }

  async function look(): Promise<void> {
    const calls = await takeStoppedCalls(db, AT_ONCE);
    const told = calls.map((call) =>
      tell(call).catch((error) =>
        log.debug({ err: error, ...call }, `an agent was not told of a cancel: ${errorMessage(error)}`),
      ),
    );
    await Promise.all(told);
  }

  const stop = repeat(everyMs, look, (error) =>
    log.debug({ err: error }, 'cancels could not be looked at; tried again'),
  );
  return {
    async close() {
      closing.abort();
      await stop();
    },
  };
}
