// Makes the tables of docs/errors.md, docs/limits.md, docs/monitoring.md and docs/task-types.md from the code: `node scripts/guide-tables.ts`
// says which pages are not up to date, with `--write` they are written.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import type { Document } from '../src/api/reference/document.ts';
import { PROBLEMS } from '../src/errors.ts';
import { SETTINGS } from '../src/settings.ts';
import { TASK_ERRORS } from '../src/task-error-codes.ts';
import { createRegistry } from '../src/tasks/index.ts';
import { CATALOGUE } from '../src/telemetry/catalogue.ts';
import { makeDocument } from './openapi.ts';
import { code, fillTables, table } from './tables.ts';

const pageOf = (name: string) => new URL(`../docs/${name}.md`, import.meta.url);

/** Each page that has such tables: as it is, and as it has to be. */
export async function renderGuide(): Promise<Array<{ name: string; is: string; should: string }>> {
  const document = await makeDocument();
  const pages: Record<string, Record<string, () => string>> = {
    errors: { problems, 'task errors': taskErrors },
    limits: { settings, submission: () => submission(document) },
    monitoring: { metrics },
    'task-types': { types },
  };
  return Object.entries(pages).map(([name, tables]) => {
    const is = readFileSync(pageOf(name), 'utf8');
    return { name, is, should: fillTables(is, tables) };
  });
}

function problems(): string {
  const inOrder = Object.entries(PROBLEMS).sort(([, a], [, b]) => a.status - b.status);
  return table(
    ['status', 'code', 'title', 'what to do'],
    inOrder.map(([name, { status, title, help }]) => [String(status), code(name), title, help]),
  );
}

function taskErrors(): string {
  return table(
    ['code', 'means'],
    Object.entries(TASK_ERRORS).map(([name, meaning]) => [code(name), meaning]),
  );
}

/** The settings that bound something. */
function settings(): string {
  const bounds = Object.entries(SETTINGS).filter(([name]) => /^MAX_|RATE_LIMIT/.test(name));
  return table(
    ['setting', 'default', 'bounds'],
    bounds.map(([name, { schema, help }]) => [code(name), code(String(v.getDefault(schema) ?? '')), help]),
  );
}

interface Bounded {
  type?: string;
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  maxItems?: number;
  items?: Bounded;
  properties?: Record<string, Bounded>;
}

/** What a submission may hold, by field. */
function submission({ components }: Document): string {
  const { properties = {} } = (components.schemas?.['NewTask.echo'] ?? {}) as Bounded;
  return table(['field', 'bounds'], boundsIn(properties));
}

function boundsIn(properties: Record<string, Bounded>, above = ''): string[][] {
  return Object.entries(properties).flatMap(([name, field]) => {
    const { minimum, maximum, maxLength, maxItems, items, properties: inner = {} } = field;
    const bounds = [
      maximum === undefined ? '' : `${minimum ?? ''} to ${figure(maximum)}`,
      maxLength === undefined ? '' : `${figure(maxLength)} characters`,
      maxItems === undefined ? '' : `${figure(maxItems)} entries`,
      items?.maxLength === undefined ? '' : `of ${figure(items.maxLength)} characters each`,
    ].filter(Boolean);
    const own = bounds.length > 0 ? [[code(above + name), bounds.join(', ')]] : [];
    return [...own, ...boundsIn(inner, `${above}${name}.`)];
  });
}

const figure = (count: number) => count.toLocaleString('en');

function types(): string {
  return table(
    ['type', 'lane', 'does', 'attempts', 'time-out'],
    createRegistry({ vectors: true })
      .list()
      .map(({ name, lane, summary, defaults }) => [
        ...[code(name), lane, summary, String(defaults.attempts), `${defaults.timeoutSeconds} s`],
      ]),
  );
}

function metrics(): string {
  return table(
    ['metric', 'kind', 'labels', 'says'],
    Object.values(CATALOGUE).map(({ name, kind, labels, help }) => [
      ...[code(name), kind, labels.map(code).join(', '), help],
    ]),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const { name, is, should } of await renderGuide()) {
    if (is === should) continue;
    if (process.argv.includes('--write')) writeFileSync(pageOf(name), should);
    else console.log(`docs/${name}.md is not up to date`);
  }
}
