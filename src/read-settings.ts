import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { UsageError } from './errors.ts';
import type { SETTINGS, SettingName } from './settings.ts';

/** The files that secrets were read from. */
export type SecretFiles = Partial<Record<SettingName, string>>;

/** The variables with their values. */
export type Values = { [K in SettingName]: v.InferOutput<(typeof SETTINGS)[K]['schema']> };

/** The values of some variables; what is wrong comes to the problems. */
export function readValues<T extends Partial<typeof SETTINGS>>(
  table: T,
  env: Record<string, string | undefined>,
  files: SecretFiles,
  problems: string[],
): Partial<Values> {
  const values: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(table)) {
    const given = readValue(env, name, 'secret' in setting && setting.secret === true, files, problems);
    const parsed = v.safeParse(setting.schema, given);
    if (parsed.success) values[name] = parsed.output;
    else problems.push(`${name}=${show(given, setting.secret)}: ${parsed.issues[0].message}. ${setting.help}`);
  }
  return values as Partial<Values>;
}

/** The error that names every variable that is wrong. */
export function wrongSettings(problems: string[]): UsageError {
  return new UsageError(
    `The configuration is wrong:\n${problems.map((line) => `  - ${line}`).join('\n')}\nEvery variable is explained in .env.example.`,
  );
}

function readValue(
  env: Record<string, string | undefined>,
  name: string,
  secret: boolean,
  files: SecretFiles,
  problems: string[],
) {
  const file = env[`${name}_FILE`];
  if (secret && file) {
    files[name as SettingName] = file;
    try {
      return readSecret(file);
    } catch (error) {
      problems.push(`${name}_FILE=${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
    }
  }
  // Compose passes unset variables on as empty strings.
  return env[name] === '' ? undefined : env[name];
}

/** The secret in a file. */
export function readSecret(file: string): string {
  return readFileSync(file, 'utf8').trim();
}

function show(given: string | undefined, secret: boolean | undefined): string {
  if (given === undefined) return '(not set)';
  return secret ? `(${given.length} characters)` : JSON.stringify(withoutLogins(given));
}

/** Who logs in, and the query of a URL, may be secret in settings that are not. */
function withoutLogins(given: string): string {
  return given.replaceAll(/[^\s,]*:[^\s,]*@/g, '…@').replaceAll(/(?<=[?#])[^\s,]+/g, '…');
}
