import { ExpressionError } from './error.ts';
import type { Expression, Language, Reference } from './language.ts';
import { takeFrom } from './values.ts';

/** What a template makes may have so many characters in all its texts. */
const MAX_FILLED = 4_194_304;

/** A template may have so many expressions, of so many characters together: reading them holds up everybody else. */
const MAX_EXPRESSIONS = 1_000;
const MAX_EXPRESSION_CHARACTERS = 131_072;

/** JSON in whose texts expressions may stand, as `${{ … }}`. */
export interface Template {
  /** Whether there is no expression in it, so that it always gives what it is. */
  constant: boolean;
  /** All texts that expressions stand in. */
  texts: FilledText[];
  /** All values it names, each with the place of its text. */
  references: Array<Reference & { place: Array<string | number> }>;
  /**
   * The value with all expressions worked out. A text that is one expression and nothing else gives its value as it is, of
   * whatever type; among other text a value that is no text stands as JSON.
   * @throws TemplateError
   */
  fill(context: Record<string, unknown>): unknown;
}

/** A text in which expressions stand. */
export interface FilledText {
  /** Keys and indexes from the top. */
  place: Array<string | number>;
  /** What it gives, as far as that is known; see {@link Expression.type}. */
  type: string;
  /** The values that it is made of and that have to be there. */
  wants: Reference[];
}

/** An expression in a template that cannot be read, or gave no value. */
export class TemplateError extends ExpressionError {
  override name = 'TemplateError';
  readonly place: Array<string | number>;

  constructor(message: string, at: number | undefined, place: Array<string | number>) {
    super(message, at);
    this.place = place;
  }
}

type Fill = (context: Record<string, unknown>, meter: Meter) => unknown;

/**
 * Reads a template. `$${{` stands for `${{` as it is; keys are never expressions.
 * @throws TemplateError
 */
export function parseTemplate(language: Language, value: unknown): Template {
  const references: Template['references'] = [];
  const texts: FilledText[] = [];
  let expressions = 0;
  let characters = 0;

  function parse(text: string): Expression {
    characters += text.length;
    if (++expressions > MAX_EXPRESSIONS) throw new ExpressionError(`is one of more than ${MAX_EXPRESSIONS} together`);
    if (characters > MAX_EXPRESSION_CHARACTERS)
      throw new ExpressionError(`makes it more than ${MAX_EXPRESSION_CHARACTERS} characters of expressions together`);
    return language.parse(text);
  }

  function read(one: unknown, place: Array<string | number>): Fill | undefined {
    if (typeof one === 'string') return readText(one, place);
    if (typeof one !== 'object' || one === null) return undefined;
    const entries = Object.entries(one).map(([key, part]) => {
      return [key, part, read(part, [...place, Array.isArray(one) ? Number(key) : key])] as const;
    });
    if (entries.every(([, , fill]) => fill === undefined)) return undefined;
    if (Array.isArray(one))
      return (context, meter) => entries.map(([, part, fill]) => (fill ? fill(context, meter) : part));
    return (context, meter) =>
      Object.fromEntries(entries.map(([key, part, fill]) => [key, fill ? fill(context, meter) : part]));
  }

  function readText(text: string, place: Array<string | number>): Fill | undefined {
    const parts = located(place, () => split(parse, text));
    if (parts.length === 1 && parts[0] === text) return undefined;
    const inner = parts.filter((part): part is Expression => typeof part !== 'string');
    const wants = inner.flatMap(({ alone }) => (alone ? [alone] : []));
    const [only] = inner;
    texts.push({ place, type: only && parts.length === 1 ? only.type : 'string', wants });
    for (const part of inner) for (const one of part.references) references.push({ ...one, place });
    return (context, meter) =>
      located(place, () => {
        const values = parts.map((part) => {
          const value = typeof part === 'string' ? part : part.evaluate(context);
          return parts.length === 1 ? meter.value(value) : meter.text(value);
        });
        return values.length === 1 ? values[0] : values.join('');
      });
  }

  const fill = read(value, []);
  return {
    constant: fill === undefined,
    texts,
    references,
    fill: (context) => (fill ? bounded(language.together(() => fill(context, createMeter()))) : value),
  };
}

/** The parts of a text: what stands there as it is, and expressions. */
function split<T>(parse: (expression: string) => T, text: string): Array<string | T> {
  const parts: Array<string | T> = [];
  let plain = '';
  let from = 0;
  for (let start = text.indexOf('${{'); start >= 0; start = text.indexOf('${{', from)) {
    plain += text.slice(from, start);
    from = start + 3;
    if (plain.endsWith('$')) {
      plain = `${plain.slice(0, -1)}\${{`;
      continue;
    }
    const end = endOf(text, from);
    if (end < 0) throw new ExpressionError('has no }} at its end', start);
    if (plain !== '') parts.push(plain);
    plain = '';
    parts.push(shifted(from, () => parse(text.slice(from, end))));
    from = end + 2;
  }
  plain += text.slice(from);
  if (plain !== '' || parts.length === 0) parts.push(plain);
  return parts;
}

/**
 * A text with each of its expressions, as it stands there, replaced.
 * @throws ExpressionError where one has no end
 */
export function replaceExpressions(text: string, replace: (expression: string) => string): string {
  return split(replace, text).join('');
}

/** Where the `}}` of an expression stands: not in a text of it, nor at the end of a map in it. */
function endOf(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    const sign = text[at];
    if (sign === '"' || sign === "'") {
      for (at++; at < text.length && text[at] !== sign; at++) if (text[at] === '\\') at++;
    } else if (sign === '{') depth++;
    else if (sign === '}' && depth > 0) depth--;
    else if (sign === '}' && text[at + 1] === '}') return at;
  }
  return -1;
}

/** Errors of an expression with the place where it stands in the text around it. */
function shifted<T>(from: number, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    throw new ExpressionError(error.message, error.at === undefined ? from : from + error.at);
  }
}

function located<T>(place: Array<string | number>, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof ExpressionError ? new TemplateError(error.message, error.at, place) : error;
  }
}

interface Meter {
  /** The value, paid for. */
  value(one: unknown): unknown;
  /** The value as it stands among other text, paid for. */
  text(one: unknown): string;
}

/** Counts what expressions make as they make it, so that never more than that is in memory. */
function createMeter(): Meter {
  let left = MAX_FILLED;

  function weigh(one: unknown): void {
    left = takeFrom(left, one);
    if (left < 0) throw new TemplateError(`makes more than ${MAX_FILLED} characters`, undefined, []);
  }

  return {
    value(one) {
      weigh(one);
      return one;
    },
    text(one) {
      const before = left;
      weigh(one);
      if (typeof one === 'string') return one;
      // Weighed before it is written, because a long text may be in a list very often.
      left = before;
      const text = JSON.stringify(one);
      weigh(text);
      return text;
    },
  };
}

/** What a template made, which may also be large by what stands in it as it is. */
function bounded(value: unknown): unknown {
  return createMeter().value(value);
}
