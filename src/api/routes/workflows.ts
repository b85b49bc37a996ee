import { isDeepStrictEqual } from 'node:util';
import * as v from 'valibot';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import {
  changeWorkflow,
  deleteWorkflow,
  findVersion,
  findWorkflow,
  holdWorkflow,
  insertWorkflow,
  pageOfVersions,
  pageOfWorkflows,
  type VersionRow,
  type WorkflowRow,
} from '../../db/workflow-definitions.ts';
import { ProblemError } from '../../errors.ts';
import { maxCharacters } from '../../tasks/schemas.ts';
import { type Definition, definitionFields, workflowName } from '../../tasks/workflow-definition.ts';
import type { CheckContext } from '../../workflows/validate.ts';
import { answers, answersNothing, pageOf } from '../answer.ts';
import { beyondKey } from '../key-limits.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import * as shape from '../shapes/workflow.ts';
import { invalid, pageQuery } from '../validate.ts';
import { checkStored } from '../workflow-tasks.ts';

interface Options extends CheckContext {
  db: Db;
  /** How many workflows a user may have; 0 is no limit. */
  maxWorkflows: number;
}

/** Versions that a workflow may have: none is ever taken away by itself. */
const MAX_VERSIONS = 1_000;

const description = v.nullable(v.pipe(v.string(), v.trim(), maxCharacters(1_000)));

const newBody = v.strictObject({
  name: workflowName,
  description: v.optional(description, null),
  ...definitionFields,
});

const change = v.pipe(
  v.strictObject({
    description: v.optional(description),
    steps: v.optional(definitionFields.steps),
    output: definitionFields.output,
  }),
  v.check(({ steps, output }) => output === undefined || steps !== undefined, 'has no output without steps'),
);

const noSuchWorkflow = () => new ProblemError('not_found', 'There is no such workflow.');

/** Definitions of workflows under names, in versions; those of the one who asks. */
export function workflowRoutes(options: Options): Route[] {
  const { db, maxWorkflows } = options;

  async function read(principal: Principal, name = ''): Promise<WorkflowRow> {
    const found = await findWorkflow(db, principal.userId, name);
    if (!found) throw noSuchWorkflow();
    return found;
  }

  async function readVersion({ id }: WorkflowRow, version: number): Promise<VersionRow> {
    const found = Number.isSafeInteger(version) && version < 2 ** 31 && (await findVersion(db, id, version));
    if (!found) throw new ProblemError('not_found', 'There is no such version.');
    return found;
  }

  /** @throws ProblemError `validation_failed`, and `forbidden` for what an API key may not submit */
  async function check(
    definition: Definition,
    as: { name: string; version: number },
    principal: Principal,
  ): Promise<Definition> {
    const asked = { db, userId: principal.userId, principal };
    const { errors, refused } = await checkStored(definition, as, asked, options);
    if (errors.length > 0) throw invalid(errors);
    if (refused.length > 0) throw beyondKey(refused);
    return definition;
  }

  const shown = async (row: WorkflowRow, base: string) => ({
    ...shape.presentWorkflow(row, base),
    ...shape.presentDefinition(await readVersion(row, row.version)),
  });

  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/workflows',
      summary: 'List my stored workflows, newest first',
      query: v.strictObject(pageQuery),
      answers: {
        200: answers('A page of workflows, without their steps.', pageOf(shape.workflowLine), {
          data: [shape.workflowLineExample],
          next_cursor: null,
        }),
      },
      handle: async ({ query, principal, base }) => {
        const { rows, next } = await pageOfWorkflows(db, principal.userId, query);
        return { status: 200, body: { data: rows.map((row) => shape.presentWorkflow(row, base)), next_cursor: next } };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/workflows',
      summary: 'Store a workflow under a name, as its version 1',
      body: newBody,
      example: shape.workflowBodyExample,
      idempotent: 'answer',
      answers: {
        201: answers('The workflow.', shape.workflow, shape.workflowExample, ['Location', 'Idempotency-Replayed']),
      },
      problems: ['already_exists', 'limit_reached'],
      handle: async ({ body: { name, description, ...given }, principal, base, trail }) => {
        const definition = await check(given, { name, version: 1 }, principal);
        const made = { userId: principal.userId, name, description, definition, by: principal.username };
        const stored = await db.transaction().execute(async (trx) => {
          const done = await insertWorkflow(trx, made, maxWorkflows);
          if (done.is === 'stored')
            await insertAudit(trx, [trail.entry({ action: 'workflow.create', ...about(done.row) })]);
          return done;
        });
        if (stored.is === 'exists')
          throw new ProblemError(
            'already_exists',
            `You have a workflow ${name} already. PATCH makes a new version of it.`,
          );
        if (stored.is === 'full')
          throw new ProblemError(
            'limit_reached',
            `You have ${maxWorkflows} workflows, which is the most. Delete one first.`,
          );
        const line = shape.presentWorkflow(stored.row, base);
        const answer = { ...line, ...shape.presentDefinition({ definition }) };
        return { status: 201, body: answer, headers: { Location: line.urls.self } };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/workflows/:name',
      summary: 'Read a workflow with the steps of its last version',
      answers: { 200: answers('The workflow.', shape.workflow, shape.workflowExample) },
      handle: async ({ params, principal, base }) => ({
        status: 200,
        body: await shown(await read(principal, params.name), base),
      }),
    }),
    defineRoute({
      method: 'PATCH',
      path: '/api/v1/workflows/:name',
      summary: 'Change what is said of a workflow, or give it other steps: those are a new version',
      body: change,
      example: { steps: shape.workflowBodyExample.steps },
      answers: {
        200: answers('The workflow as it is now.', shape.workflow, { ...shape.workflowExample, version: 2 }),
      },
      problems: ['limit_reached'],
      handle: async ({ body: { description, steps, output }, params: { name = '' }, principal, base, trail }) => {
        const before = await read(principal, name);
        const as = { name, version: before.version + 1 };
        const given = steps && (await check({ steps, output }, as, principal));
        const row = await db.transaction().execute(async (trx) => {
          const held = await holdWorkflow(trx, principal.userId, name);
          if (!held) throw noSuchWorkflow();
          const last = given && (await findVersion(trx, held.id, held.version));
          // The same again is no new version, so whoever stores what is in a repository may do it at each deploy.
          const definition = isDeepStrictEqual(plain(given), last?.definition) ? undefined : given;
          if (definition && held.version >= MAX_VERSIONS)
            throw new ProblemError('limit_reached', `The workflow has ${MAX_VERSIONS} versions, which is the most.`);
          const changed = await changeWorkflow(trx, held, { description, definition, by: principal.username });
          await insertAudit(trx, [trail.entry({ action: 'workflow.update', ...about(changed) })]);
          return changed;
        });
        return { status: 200, body: await shown(row, base) };
      },
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/workflows/:name',
      summary: 'Delete a workflow with all its versions; tasks that have begun go on',
      answers: { 204: answersNothing('The workflow is gone, and its name free again.') },
      handle: async ({ params: { name = '' }, principal, trail }) => {
        const gone = await db.transaction().execute(async (trx) => {
          const deleted = await deleteWorkflow(trx, principal.userId, name);
          if (deleted) await insertAudit(trx, [trail.entry({ action: 'workflow.delete', ...about(deleted) })]);
          return deleted;
        });
        if (!gone) throw noSuchWorkflow();
        return { status: 204 };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/workflows/:name/versions',
      summary: 'List the versions of a workflow, newest first',
      query: v.strictObject(pageQuery),
      answers: {
        200: answers('A page of versions, without their steps.', pageOf(shape.versionLine), {
          data: [shape.versionLineExample],
          next_cursor: null,
        }),
      },
      handle: async ({ query, params, principal }) => {
        const { id, name } = await read(principal, params.name);
        const { rows, next } = await pageOfVersions(db, id, query);
        return { status: 200, body: { data: rows.map((row) => presentVersion(row, name)), next_cursor: next } };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/workflows/:name/versions/:version',
      summary: 'Read a version of a workflow',
      answers: { 200: answers('The version.', shape.version, shape.versionExample) },
      handle: async ({ params, principal }) => {
        const row = await read(principal, params.name);
        const version = await readVersion(row, Number(params.version));
        return { status: 200, body: { ...presentVersion(version, row.name), ...shape.presentDefinition(version) } };
      },
    }),
  ];
}

function presentVersion(
  { id, version, step_count, created_by, created_at }: Omit<VersionRow, 'definition'>,
  name: string,
) {
  return { id, name, version, step_count, created_by, created_at };
}

/** As it is read again: without what is undefined. */
function plain(definition: Definition | undefined): unknown {
  return definition && JSON.parse(JSON.stringify(definition));
}

/** For the audit log. */
function about({ id, name, version, step_count }: WorkflowRow) {
  return { object: { type: 'workflow', id }, details: { name, version, step_count } };
}
