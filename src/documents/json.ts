import { nestsTooDeep } from '../tasks/clean.ts';
import { type Block, type ReadText, Unreadable } from './blocks.ts';
import { normalize } from './decode.ts';

/** Of each value its path and the value, a line each: `servers[0].name: alpha`. What stands at the top is one block each. */
export function readJson(source: string): ReadText {
  if (nestsTooDeep(source)) throw new Unreadable('The JSON nests too deep.');
  const value = parse(source);
  const top = value !== null && typeof value === 'object' ? Object.entries(value) : [['', value] as const];
  const blocks = top.map(([name, inner]): Block => {
    const path = Array.isArray(value) ? `[${name}]` : name;
    return { kind: 'text', text: lines(path, inner).join('\n'), kept: true };
  });
  return { blocks };
}

function parse(source: string): unknown {
  try {
    return JSON.parse(source);
  } catch (error) {
    throw new Unreadable(`The JSON is not valid: ${(error as Error).message.slice(0, 200)}`);
  }
}

function lines(path: string, value: unknown): string[] {
  if (Array.isArray(value) && value.length > 0) return value.flatMap((one, n) => lines(`${path}[${n}]`, one));
  if (value !== null && typeof value === 'object' && Object.keys(value).length > 0)
    return Object.entries(value).flatMap(([name, inner]) => lines(path === '' ? name : `${path}.${name}`, inner));
  const text = typeof value === 'string' ? normalize(value) : JSON.stringify(value);
  return [path === '' ? text : `${normalize(path)}: ${text}`];
}
