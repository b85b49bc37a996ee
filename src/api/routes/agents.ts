import * as v from 'valibot';
import { capability } from '../../agents/names.ts';
import { changeSecrets, MAX_SECRETS, openSecrets, sealSecrets } from '../../agents/secrets.ts';
import { forgetHealth } from '../../db/agent-health.ts';
import {
  type AgentRow,
  holdAgent,
  insertAgent,
  isNameTaken,
  pageOfAgents,
  removeAgent,
  updateAgent,
} from '../../db/agents.ts';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { newId } from '../../db/ids.ts';
import { AGENT_TYPES } from '../../db/schema.ts';
import { ProblemError } from '../../errors.ts';
import type { SecretBox } from '../../secretbox.ts';
import { answers, answersNothing, pageOf } from '../answer.ts';
import { defineRoute, type Route } from '../route.ts';
import { agentExample, agent as shape } from '../shapes/agent.ts';
import { invalid, pageQuery } from '../validate.ts';
import { agentChange, newAgent, TRANSLATOR } from './agent-bodies.ts';
import {
  mayChange,
  noSuchAgent,
  presentAgent,
  readAgent,
  readAgentToSteer,
  refuseToMoveSecrets,
  refuseWrongAgent,
} from './agent-shared.ts';

interface Options {
  db: Db;
  box: SecretBox;
  /** What is wrong with a URL that users want to be called. */
  checkUrl: (url: string) => string | undefined;
  /** How many agents a user may have; 0 is no limit. */
  maxAgents: number;
}

/** The registry of agents: whom tasks can be given to. */
export function agentRoutes({ db, box, checkUrl, maxAgents }: Options): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/agents',
      summary: 'List agents that I may use, newest first',
      query: v.strictObject({
        ...pageQuery,
        type: v.optional(v.picklist(AGENT_TYPES, `must be one of ${AGENT_TYPES.join(', ')}`)),
        capability: v.optional(capability),
      }),
      answers: { 200: answers('A page of agents.', pageOf(shape), { data: [agentExample], next_cursor: null }) },
      handle: async ({ query, principal }) => {
        const userId = principal.can('agents:read:any') ? undefined : principal.userId;
        const { rows, next } = await pageOfAgents(db, { ...query, userId });
        return { status: 200, body: { data: rows.map((row) => presentAgent(row, principal)), next_cursor: next } };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/agents',
      summary: 'Register an agent',
      body: newAgent,
      example: TRANSLATOR,
      idempotent: 'answer',
      answers: {
        201: answers('The agent.', shape, agentExample, ['Location', 'Idempotency-Replayed']),
      },
      problems: ['already_exists', 'limit_reached'],
      handle: async ({ body, sent, principal, base, trail }) => {
        const { shared, secrets, capabilities, ...given } = body;
        if (shared && !principal.can('agents:write:any'))
          throw new ProblemError('forbidden', 'An agent of everybody wants the permission agents:write:any.');
        // As it was sent: what holds where nothing was said may be something else one day.
        const config = (sent as { config?: Record<string, unknown> }).config ?? {};
        const where = { endpoint: null, port: null, ...given };
        refuseWrongAgent({ ...where, config }, Object.keys(secrets), checkUrl);
        const row = {
          ...{ ...where, id: newId(), user_id: shared ? null : principal.userId },
          ...{ config: JSON.stringify(config), capabilities: JSON.stringify(capabilities) },
          ...sealSecrets(box, secrets),
        };
        const stored = await db.transaction().execute(async (trx) => {
          const done = await insertAgent(trx, row, maxAgents);
          if (done.is === 'stored')
            await insertAudit(trx, [trail.entry({ action: 'agent.create', ...about(done.row) })]);
          return done;
        });
        if (stored.is === 'exists') throw exists(body.name);
        if (stored.is === 'full')
          throw new ProblemError('limit_reached', `You have ${maxAgents} agents, which is the most. Delete one first.`);
        const headers = { Location: `${base}/api/v1/agents/${stored.row.id}` };
        return { status: 201, body: presentAgent(stored.row, principal), headers };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/agents/:id',
      summary: 'Read an agent, by its id or its name',
      answers: { 200: answers('The agent.', shape, agentExample) },
      handle: async ({ params, principal }) => ({
        status: 200,
        body: presentAgent(await readAgent(db, principal, params.id), principal),
      }),
    }),
    defineRoute({
      method: 'PATCH',
      path: '/api/v1/agents/:id',
      summary: 'Change an agent, switch it off or on',
      body: agentChange,
      example: { is_active: false },
      answers: { 200: answers('The agent as it is now.', shape, agentExample) },
      problems: ['already_exists'],
      handle: async ({ params, body, principal, trail }) => {
        const { id } = await readAgentToSteer(db, principal, params.id);
        const row = await db.transaction().execute(async (trx) => {
          const before = await holdAgent(trx, id);
          if (!before) throw noSuchAgent();
          if (!mayChange(principal, before) && Object.keys(body).some((field) => field !== 'is_active'))
            throw new ProblemError('forbidden', 'Of the agent of somebody else only is_active can be changed.');
          if (body.name !== undefined && (await isNameTaken(trx, before, body.name))) throw exists(body.name);
          const changed = await updateAgent(trx, id, columnsOf(before, body));
          if (isSomewhereElse(before, changed, body)) await forgetHealth(trx, id);
          const details = { changed: Object.keys(body), ...secretDetails(body.secrets) };
          await insertAudit(trx, [trail.entry({ action: 'agent.update', ...about(changed, details) })]);
          return changed;
        });
        return { status: 200, body: presentAgent(row, principal) };
      },
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/agents/:id',
      summary: 'Delete an agent; its tasks stay',
      answers: { 204: answersNothing('The agent is gone, and its name free again.') },
      handle: async ({ params, principal, trail }) => {
        const row = await readAgentToSteer(db, principal, params.id);
        const gone = await db.transaction().execute(async (trx) => {
          const removed = await removeAgent(trx, row.id);
          if (removed) await insertAudit(trx, [trail.entry({ action: 'agent.delete', ...about(row) })]);
          return removed;
        });
        if (!gone) throw noSuchAgent();
        return { status: 204 };
      },
    }),
  ];

  /** What is stored. @throws ProblemError `validation_failed` where the whole would not be good any more */
  function columnsOf(
    before: AgentRow,
    { config, capabilities, secrets = {}, ...given }: v.InferOutput<typeof agentChange>,
  ) {
    const known = openSecrets(box, before);
    const after = changeSecrets(known, secrets);
    if (Object.keys(after).length > MAX_SECRETS)
      throw invalid([{ pointer: '#/secrets', detail: `must not become more than ${MAX_SECRETS}` }]);
    const whole = { ...before, ...given, config: config ?? before.config };
    // One that is only switched off may be as wrong as it is.
    if (Object.keys(given).some((field) => field !== 'is_active') || config || Object.keys(secrets).length > 0)
      refuseWrongAgent(whole, Object.keys(after), checkUrl);
    refuseToMoveSecrets(before, whole, Object.keys(secrets));
    return {
      ...given,
      ...(config && { config: JSON.stringify(config) }),
      ...(capabilities && { capabilities: JSON.stringify(capabilities) }),
      ...(Object.keys(secrets).length > 0 && sealSecrets(box, after)),
    };
  }
}

/** Whether what was heard of an agent says nothing about it as it is now. */
function isSomewhereElse(before: AgentRow, after: AgentRow, { config, secrets }: v.InferOutput<typeof agentChange>) {
  const moved = before.endpoint !== after.endpoint || before.port !== after.port;
  return moved || config !== undefined || secrets !== undefined || (after.is_active && !before.is_active);
}

function exists(name: string): ProblemError {
  return new ProblemError('already_exists', `There is an agent ${name} already.`);
}

function secretDetails(secrets: Record<string, string | null> | undefined) {
  return secrets ? { secrets: Object.keys(secrets) } : {};
}

/** For the audit log; a path of an endpoint may be secret, so only its host. */
function about({ id, user_id, name, type, endpoint: at, is_active }: AgentRow, more: object = {}) {
  const host = at && new URL(at).host;
  return { object: { type: 'agent', id }, details: { name, type, host, is_active, shared: user_id === null, ...more } };
}
