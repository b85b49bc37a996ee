import { Ajv2020 } from 'ajv/dist/2020.js';
import * as v from 'valibot';
import { jsonObject } from './schemas.ts';

/** How long a schema may be, as JSON: what is made of it grows faster than it does. */
const MAX_SCHEMA_CHARACTERS = 32_768;

/** What is wrong with a schema, and where: the steps from its root. */
interface Wrong {
  path: string[];
  detail: string;
}

/** Values in a schema that are no schemas themselves. */
const DATA = new Set(['const', 'enum', 'default', 'examples']);

/** Made when it is asked for: few processes see a schema, and what it checks with takes a moment to make. */
let meta: Ajv2020 | undefined;

/**
 * A JSON Schema (2020-12; `$schema` is not looked at) that stands by itself: its references point into it, and its patterns can be read.
 * What of it cannot be told without making a validator of it, whoever does that has to tell.
 */
export const jsonSchema = v.pipe(
  jsonObject,
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const wrong = wrongIn(dataset.value);
    if (!wrong) return;
    const steps = wrong.path.map((key) => ({
      type: 'unknown' as const,
      origin: 'value' as const,
      input: {},
      key,
      value: {},
    }));
    addIssue({ message: wrong.detail, path: steps as unknown as [v.IssuePathItem, ...v.IssuePathItem[]] });
  }),
  v.metadata({ description: `A JSON Schema (2020-12) of at most ${MAX_SCHEMA_CHARACTERS} characters.` }),
);

function wrongIn({ $schema: _, ...schema }: Record<string, unknown>): Wrong | undefined {
  if (JSON.stringify(schema).length > MAX_SCHEMA_CHARACTERS)
    return { path: [], detail: `must be at most ${MAX_SCHEMA_CHARACTERS} characters of JSON` };
  meta ??= new Ajv2020({ strict: false, validateFormats: false, logger: false });
  if (!meta.validateSchema(schema)) {
    const [error] = meta.errors ?? [];
    const path = (error?.instancePath ?? '').split('/').slice(1).map(unescaped);
    return { path, detail: `is not JSON Schema: ${error?.message ?? 'it cannot be read'}` };
  }
  return unusable(schema, schema, []);
}

/** What the rules of JSON Schema allow, but cannot be worked with here. */
function unusable(value: unknown, root: object, path: string[]): Wrong | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [key, inner] of Object.entries(value)) {
    const at = [...path, key];
    const detail = DATA.has(key) ? undefined : wrongKeyword(key, inner, root);
    if (detail) return { path: at, detail };
    const below = DATA.has(key) ? undefined : unusable(inner, root, at);
    if (below) return below;
  }
  return undefined;
}

function wrongKeyword(key: string, value: unknown, root: object): string | undefined {
  if (key === '$async') return 'is not known here';
  if (key === '$ref' && typeof value === 'string' && !resolves(value, root))
    return 'must point into the schema itself, such as #/$defs/name';
  if (key === '$dynamicRef' && typeof value === 'string') return 'is not supported: use $ref';
  const patterns =
    key === 'pattern' && typeof value === 'string'
      ? [value]
      : key === 'patternProperties'
        ? Object.keys(value as object)
        : [];
  return patterns.every(isPattern) ? undefined : 'is not a regular expression';
}

function resolves(reference: string, root: object): boolean {
  if (!/^#(\/|$)/.test(reference)) return false;
  let at: unknown = root;
  for (const step of reference.split('/').slice(1).map(unescaped)) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return false;
    at = (at as Record<string, unknown>)[step];
  }
  return true;
}

/** A step of a JSON pointer in a URL (RFC 6901, 6). */
function unescaped(step: string): string {
  try {
    return decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~');
  } catch {
    return step;
  }
}

function isPattern(text: string): boolean {
  try {
    new RegExp(text, 'u');
    return true;
  } catch {
    return false;
  }
}
