// Makes the tables of docs/security.md from src/api/policy.ts: `node scripts/security-tables.ts` prints the page, with
// `--write` it is written.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { AUDIT_ACTIONS } from '../src/api/audit.ts';
import { PERMISSIONS, type Permission, POLICIES, ROLE_PERMISSIONS } from '../src/api/policy.ts';
import { ROLES } from '../src/db/schema.ts';
import { ACTORS, outcomeOf } from './access-matrix.ts';
import { code, fillTables, table } from './tables.ts';

const PAGE = new URL('../docs/security.md', import.meta.url);

const TABLES: Record<string, () => string> = { permissions, routes, audit };

/** The text of `docs/security.md` as it has to be: its own words, with each marked table made anew. */
export function renderSecurityPage(page = readFileSync(PAGE, 'utf8')): string {
  return fillTables(page, TABLES);
}

/** Roles × permissions. */
function permissions(): string {
  const roles = ROLES.toReversed();
  return table(
    ['permission', 'allows to', ...roles],
    Object.entries(PERMISSIONS).map(([name, meaning]) => [
      code(name),
      meaning,
      ...roles.map((role) => (ROLE_PERMISSIONS[role].has(name as Permission) ? 'yes' : '')),
    ]),
  );
}

/** Routes × who asks. */
function routes(): string {
  return table(
    ['route', 'wants', ...ACTORS.map(({ name }) => name)],
    Object.entries(POLICIES).map(([route, policy]) => [
      code(route),
      policy in PERMISSIONS ? code(policy) : policy,
      ...ACTORS.map((actor) => String(outcomeOf(route, actor))),
    ]),
  );
}

/** What the audit log tells of. */
function audit(): string {
  return table(
    ['action', 'what happened'],
    Object.entries(AUDIT_ACTIONS).map(([action, meaning]) => [code(action), meaning]),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--write')) writeFileSync(PAGE, renderSecurityPage());
  else process.stdout.write(renderSecurityPage());
}
