// Makes .env.example from src/settings.ts: `node scripts/env-example.ts` prints it, with `--write` it is written.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { SETTINGS } from '../src/settings.ts';

interface Shown {
  schema: v.GenericSchema<string | undefined, unknown>;
  help: string;
  group: string;
  secret?: true;
  example?: string;
}

const HEAD = `# Every setting of SutazAI, made from src/settings.ts by \`node scripts/env-example.ts --write\`.
#
# Nothing here has to be set on a first start. Copy the file to .env and take the # away in front of what you change; what
# the environment holds already wins over .env. A line shows the default of its variable, and nothing where there is none.
# A secret can be given as a file as well: the variable with _FILE at its end names it, such as
# JWT_SECRET_KEY_FILE=/run/secrets/jwt_secret_key.
`;

/** The text of `.env.example`. */
export function renderEnvExample(): string {
  const groups = new Map<string, string[]>();
  for (const [name, setting] of Object.entries(SETTINGS)) {
    const { group } = setting as Shown;
    groups.set(group, [...(groups.get(group) ?? []), entry(name, setting)]);
  }
  const parts = [...groups].map(([group, entries]) => `# --- ${group} ---\n\n${entries.join('\n')}`);
  return [HEAD, ...parts].join('\n');
}

function entry(name: string, { schema, help, secret, example }: Shown): string {
  const byDefault = v.getDefault(schema) ?? '';
  const notes = [
    help,
    byDefault === '' && example ? `such as ${example}` : '',
    secret ? `secret, or a file: ${name}_FILE` : '',
  ];
  return `# ${notes.filter(Boolean).join('; ')}\n# ${name}=${byDefault}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--write')) writeFileSync(new URL('../.env.example', import.meta.url), renderEnvExample());
  else process.stdout.write(renderEnvExample());
}
