import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { renderEnvExample } from '../../scripts/env-example.ts';
import { renderSecurityPage } from '../../scripts/security-tables.ts';
import { ALONE, LONG } from '../../scripts/test-lists.mjs';
import { deadReferences } from '../support/documents.ts';
import { importProblems } from '../support/rooms.ts';
import { filesUnder, importsOf, loggedNames, ROOT, readText, transactionsOf } from '../support/sources.ts';

const MAX_LINES = 250;
/** They hand the environment on to `loadConfig`, and read nothing from it themselves but what comes before there is a configuration. */
const ENVIRONMENT_READERS = ['src/config.ts', 'src/demo.ts', 'src/main.ts'];
const SOURCES = filesUnder('src', /\.ts$/);

test('imports go one way', () => {
  expect(SOURCES.flatMap((path) => importProblems(path, readText(path)))).toEqual([]);
});

test.each([
  ['src/tasks/echo.ts', "import pg from 'pg';", 'the package pg'],
  ['src/tasks/echo.ts', "import { createPool } from '../db/connect.ts';", 'from db'],
  ['src/db/tasks/read.ts', "import { LANES } from '../../tasks/lanes.ts';", 'from tasks'],
  ['src/db/users.ts', "import type { Role } from '../api/policy.ts';", 'types from api'],
  ['src/clients/ollama.ts', "import { createDb } from '../db/connect.ts';", 'from db'],
  ['src/queues/backend.ts', "export { sign } from '../webhooks/sign.ts';", 'from webhooks'],
  [
    'src/webhooks/sign.ts',
    "import {\n  type QueueBackend,\n  openQueueBackend,\n} from '../queues/backend.ts';",
    'from queues',
  ],
  ['src/api/app.ts', "import { runTask } from '../workers/run.ts';", 'from workers'],
  ['src/workers/run.ts', "import '../api/app.ts';", 'from api'],
  ['src/embedded/postgres.ts', "import type { Config } from '../config.ts';", 'from config'],
  ['src/errors.ts', "import type { Db } from './db/connect.ts';", 'types from db'],
  ['src/parts.ts', "import { createDb } from './db/connect.ts';", 'from db'],
  ['src/client/tasks.ts', "import { LANES } from '../tasks/lanes.ts';", 'from tasks'],
  ['src/client/webhook.ts', "import { createHmac } from 'node:crypto';", 'the package node:crypto'],
  ['src/config.ts', "const home = await import('./embedded/home.ts');", 'from embedded'],
])('%s may not say %j', (path, source, problem) => {
  expect(importProblems(path, source).join()).toContain(problem);
});

test.each([
  ['src/tasks/echo.ts', "import * as v from 'valibot';\nimport { defineTask } from './define.ts';"],
  ['src/tasks/present.ts', "import type { TaskRow } from '../db/tasks/read.ts';"],
  ['src/db/schema.ts', "import { type Lane } from '../tasks/lanes.ts';"],
  ['src/services.ts', "const { startChild } = await import('./embedded/child.ts');"],
])('%s may say %j', (path, source) => {
  expect(importsOf(source).length).toBeGreaterThan(0);
  expect(importProblems(path, source)).toEqual([]);
});

test(`no file has more than ${MAX_LINES} lines`, () => {
  const long = ['src', 'tests', 'migrations', 'scripts']
    .flatMap((folder) => filesUnder(folder, /\.(?:ts|mts|mjs|sh)$/))
    .map((path) => ({ path, lines: readText(path).trimEnd().split('\n').length }))
    .filter(({ lines }) => lines > MAX_LINES);
  expect(long).toEqual([]);
});

test('no transaction asks for a second connection, for which all would wait who hold the last ones', () => {
  const all = SOURCES.flatMap((path) => transactionsOf(readText(path)).map((body) => ({ path, body })));
  expect(all.length).toBeGreaterThan(3);
  expect(all.filter(({ body }) => /\b(db|pool)\b/.test(body))).toEqual([]);
  const nested = 'await db.transaction().execute(async (trx) => {\n await insert(trx, (1));\n await find(db);\n});';
  expect(transactionsOf(nested)).toEqual([expect.stringContaining('find(db)')]);
});

test('no line of the log has a name twice: what pino puts into every line, nobody else does', () => {
  const inEveryLine = ['level', 'time', 'pid', 'hostname', 'name', 'msg'];
  const logged = SOURCES.flatMap((path) => loggedNames(readText(path)).map((name) => ({ path, name })));
  expect(logged.length).toBeGreaterThan(100);
  expect(logged.filter(({ name }) => inEveryLine.includes(name))).toEqual([]);
  expect(loggedNames("log.info({ pid }, 'x'); log.warn(\n  {\n    err: e, msg: f({}),\n }, 'y');")).toEqual([
    'pid',
    'err',
    'msg',
  ]);
});

test('.env.example is what the settings say; `node scripts/env-example.ts --write` writes it', () => {
  expect(readText('.env.example')).toBe(renderEnvExample());
});

test('the tables of docs/security.md are what the policies say; `node scripts/security-tables.ts --write` writes them', () => {
  expect(readText('docs/security.md')).toBe(renderSecurityPage());
});

test('only the configuration and the entry files read the environment', () => {
  expect(SOURCES.filter((path) => /\bprocess\.env\b/.test(readText(path)))).toEqual(ENVIRONMENT_READERS);
});

const DOCUMENTS = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  ...(existsSync(join(ROOT, 'docs')) ? filesUnder('docs', /\.md$/) : []),
];

test.each(DOCUMENTS)('what %s names is there', (path) => {
  expect(deadReferences(path, readText(path))).toEqual([]);
});

test.each([
  ['a path', 'see `src/nowhere.ts`'],
  ['a path with a line', 'see `src/nowhere.ts:12`'],
  ['a link', '[more](docs/nowhere.md#part)'],
  ['a script of npm', '```sh\nnpm run nothing\n```'],
  ['a command', 'run `sutazai explode`'],
  ['a command through npm', '```sh\nnpm run sutazai -- explode --now\n```'],
  ['a verb of a command', '`sutazai migrate sideways`'],
])('a document that names %s that is not there is found', (_, text) => {
  expect(deadReferences('README.md', text)).toHaveLength(1);
});

test('the lists of tests name files that are there, so that none is run or left out by mistake', () => {
  expect([...ALONE, ...LONG].filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
});
