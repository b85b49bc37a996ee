import type { Llama, LlamaGrammar } from 'node-llama-cpp';
import { httpError, messageOf } from './errors.ts';

/**
 * The grammar for Ollama's `format`: `"json"`, or a JSON schema.
 * Of a schema these hold: type, properties (every one is written, in the order given), additionalProperties, items,
 * prefixItems, min/maxItems, min/maxLength, enum, const, oneOf/anyOf, $ref to $defs, and the formats of dates.
 * Other keywords, such as `pattern` and `minimum`, are not enforced.
 * @throws 400 for anything else
 */
export async function grammarFor(llama: Llama, format: unknown): Promise<LlamaGrammar | undefined> {
  if (format === undefined || format === null || format === '') return undefined;
  if (format === 'json') return llama.getGrammarFor('json');
  if (!isObject(format)) throw invalid(format);
  try {
    return await llama.createGrammarForJsonSchema(adapt(format));
  } catch (error) {
    throw httpError(400, `invalid format: ${messageOf(error)}`);
  }
}

/** Ollama's error for a `format` that is neither; checked before a model is loaded. */
export function checkFormat(format: unknown): void {
  const known = format === undefined || format === null || format === '' || format === 'json' || isObject(format);
  if (!known) throw invalid(format);
}

function invalid(format: unknown) {
  return httpError(400, `invalid format: ${JSON.stringify(format)}; expected "json" or a valid JSON Schema object`);
}

/** Rewrites the spellings of JSON Schema that the grammar generator does not know into those it does. */
function adapt(schema: Record<string, unknown>): Record<string, unknown> & { type: 'object' } {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(schema)) {
    if (key === 'anyOf') out.oneOf = adaptAll(value);
    else if (key === 'definitions' || key === '$defs' || key === 'properties') {
      out[key === 'definitions' ? '$defs' : key] = adaptValues(value);
    } else if (key === '$ref' && typeof value === 'string') out.$ref = value.replace('#/definitions/', '#/$defs/');
    else if (key === 'enum' || key === 'const') out[key] = value;
    else out[key] = adaptAll(value);
  }
  if (out.type === undefined && out.properties !== undefined) out.type = 'object';
  // The generator's own type describes a schema known when the program is written; this one comes with a request.
  return out as Record<string, unknown> & { type: 'object' };
}

function adaptAll(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(adaptAll);
  return isObject(value) ? adapt(value) : value;
}

/** For maps whose keys are names, not keywords: a property may well be called `anyOf`. */
function adaptValues(value: unknown): unknown {
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, adaptAll(inner)]));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
