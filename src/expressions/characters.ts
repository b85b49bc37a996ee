import { type Node, visitNodes } from './budget.ts';
import { ExpressionError } from './error.ts';

type Work = (text: string, first: string | bigint, second?: bigint) => unknown;

/** What the library does by UTF-16 units, of which some characters have two, while `size` counts characters. */
const BY_CHARACTERS: Record<string, { first: 'string' | 'bigint'; work: Work }> = {
  substring: { first: 'bigint', work: (text, start, end) => substring(text, start as bigint, end) },
  indexOf: { first: 'string', work: (text, part, from) => indexOf(text, part as string, from, 'indexOf') },
  lastIndexOf: { first: 'string', work: (text, part, from) => indexOf(text, part as string, from, 'lastIndexOf') },
  split: { first: 'string', work: (text, separator, limit) => split(text, separator as string, limit) },
};

/** Makes an expression whose types were checked count characters of texts wherever it counts. */
export function countCharacters(tree: Node): void {
  visitNodes(tree, (node) => {
    if (node.op !== 'rcall') return;
    const { first, work } = BY_CHARACTERS[String((node.args as unknown[])[0])] ?? {};
    const { handle } = node;
    if (!handle || !work) return;
    node.handle = (values, ...rest) => {
      const [text, one, other] = values as unknown[];
      const fits = typeof one === first && (other === undefined || typeof other === 'bigint');
      // Of what does not fit, and of texts without such characters, the library says the right thing.
      if (typeof text !== 'string' || !fits || !hasPairs(text)) return handle.apply(node, [values, ...rest]);
      return work(text, one as string | bigint, other);
    };
  });
}

function hasPairs(text: string): boolean {
  return /[\ud800-\udbff][\udc00-\udfff]/.test(text);
}

/** Where the character of that number begins, in units; the end of the text is one too. */
function unitOf(text: string, character: bigint, what: string): number {
  let unit = 0;
  let left = Number(character);
  for (; left > 0 && unit < text.length; left--) unit += (text.codePointAt(unit) as number) > 0xffff ? 2 : 1;
  if (left !== 0) throw new ExpressionError(`${what} is out of range`);
  return unit;
}

/** How many characters stand before a unit. */
function charactersTo(text: string, unit: number): bigint {
  if (unit < 0) return -1n;
  let characters = 0;
  for (let at = 0; at < unit; characters++) at += (text.codePointAt(at) as number) > 0xffff ? 2 : 1;
  return BigInt(characters);
}

function substring(text: string, start: bigint, end: bigint | undefined): string {
  const from = unitOf(text, start, 'the start of substring()');
  if (end === undefined) return text.slice(from);
  if (end < start) throw new ExpressionError('the end of substring() is out of range');
  return text.slice(from, unitOf(text, end, 'the end of substring()'));
}

function indexOf(text: string, part: string, from: bigint | undefined, name: 'indexOf' | 'lastIndexOf'): bigint {
  if (from === undefined) return charactersTo(text, text[name](part));
  if (part === '') return from;
  const unit = unitOf(text, from, `the start of ${name}()`);
  if (unit === text.length) throw new ExpressionError(`the start of ${name}() is out of range`);
  return charactersTo(text, text[name](part, unit));
}

function split(text: string, separator: string, limit = -1n): string[] {
  if (limit === 0n) return [];
  const parts = separator === '' ? [...text] : text.split(separator);
  const most = Number(limit);
  if (most < 0 || parts.length <= most) return parts;
  return [...parts.slice(0, most - 1), parts.slice(most - 1).join(separator)];
}
