import { isJsonObject, type Json, type JsonObject } from './json.ts';
import type { PayloadPath } from './payload-path.ts';

/** Which parts of a payload an answer carries. */
export type PayloadSelection = boolean | { include: PayloadPath[] } | { exclude: PayloadPath[] };

/** The chosen part of a payload; undefined when none was asked for. */
export function selectPayload(payload: JsonObject, selection: PayloadSelection): JsonObject | undefined {
  if (selection === true) return payload;
  if (selection === false) return undefined;
  const keeps =
    'include' in selection
      ? (path: PayloadPath) => selection.include.some((pattern) => isPrefix(path, pattern) || isPrefix(pattern, path))
      : (path: PayloadPath) => !selection.exclude.some((pattern) => isPrefix(pattern, path));
  return keepObject(payload, [], keeps);
}

/** Lays `source` over `target`, key by key; a null takes the key away. */
export function mergePayload(target: JsonObject, source: JsonObject): JsonObject {
  return objectFrom([...Object.entries(target), ...Object.entries(source)].filter(([key]) => source[key] !== null));
}

/** Lays `source` over what hangs at `path`, making objects on the way. */
export function mergePayloadAt(target: JsonObject, path: PayloadPath, source: JsonObject): JsonObject {
  const merged = mergeAt(target, path, source);
  return isJsonObject(merged) ? merged : target;
}

/** Takes away what hangs at `path`, if anything does. */
export function removeFromPayload(target: JsonObject, path: PayloadPath): JsonObject {
  const rest = removeAt(target, path);
  return isJsonObject(rest) ? rest : target;
}

// Objects are rebuilt from entries, never assigned to, so that a key named __proto__ stays an ordinary key.
function objectFrom(entries: [string, Json][]): JsonObject {
  return Object.fromEntries(entries);
}

function isPrefix(prefix: PayloadPath, path: PayloadPath): boolean {
  return prefix.length <= path.length && prefix.every((item, at) => item === path[at]);
}

function keepObject(object: JsonObject, at: PayloadPath, keeps: (path: PayloadPath) => boolean): JsonObject {
  const entries = Object.entries(object).filter(([key]) => keeps([...at, key]));
  return objectFrom(entries.map(([key, value]) => [key, keepValue(value, [...at, key], keeps)]));
}

function keepValue(value: Json, at: PayloadPath, keeps: (path: PayloadPath) => boolean): Json {
  if (isJsonObject(value)) return keepObject(value, at, keeps);
  if (!Array.isArray(value)) return value;
  const inside = [...at, null];
  return keeps(inside) ? value.map((item) => keepValue(item, inside, keeps)) : [];
}

function mergeAt(target: Json | undefined, path: PayloadPath, source: JsonObject): Json {
  const [step, ...rest] = path;
  if (step === undefined) return mergePayload(isJsonObject(target) ? target : {}, source);
  if (step === null) return Array.isArray(target) ? target.map((item) => mergeAt(item, rest, source)) : [];
  if (typeof step === 'number') {
    return Array.isArray(target) ? target.map((item, at) => (at === step ? mergeAt(item, rest, source) : item)) : [];
  }
  const object = isJsonObject(target) ? target : {};
  const present = Object.hasOwn(object, step) ? object[step] : undefined;
  return objectFrom([...Object.entries(object), [step, mergeAt(present, rest, source)]]);
}

function removeAt(target: Json, path: PayloadPath): Json {
  const [step, ...rest] = path;
  const last = rest.length === 0;
  if (typeof step === 'string' && isJsonObject(target)) {
    const entries = Object.entries(target).filter(([key]) => !(last && key === step));
    return objectFrom(entries.map(([key, value]) => [key, key === step ? removeAt(value, rest) : value]));
  }
  if (!Array.isArray(target) || typeof step === 'string' || step === undefined) return target;
  if (last) return step === null ? [] : target.filter((_, at) => at !== step);
  return target.map((item, at) => (step === null || at === step ? removeAt(item, rest) : item));
}
