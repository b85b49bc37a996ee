/** Where a text stops being JSON, and what would have to stand there. */
export interface JsonFault {
  /** From 1, as editors count. */
  line: number;
  column: number;
  wanted: string;
  /** What is around it in its line, and a mark below it. It shows what may be secret. */
  piece: string;
}

/** Sticky, and they always match: from the beginning of a text in quotes to where it ends, or cannot go on. */
const SPACE = /[ \t\r\n]*/y;
const TEXT = /"(?:[\x20\x21\x23-\x5b\x5d-\uffff]+|\\["\\/bfnrt]|\\u[\da-fA-F]{4})*/y;
const WORD = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)?/y;

const NAME = 'a name in double quotes';
const VALUE = 'a value';
const QUOTE = 'the closing " of a text, in which a line break is written \\n, a backslash \\\\ and a quote \\"';

const AROUND = 30;

/** Finds what `JSON.parse` of Node does not say: the place, of every fault. Answers `undefined` where the text is JSON. */
export function findFault(text: string): JsonFault | undefined {
  /** What closes what is open. */
  const open: string[] = [];
  let at = 0;
  let next: 'value' | 'name' | 'first' | 'colon' | 'more' = 'value';
  const pass = (what: RegExp) => {
    what.lastIndex = at;
    at += what.exec(text)?.[0].length ?? 0;
  };
  for (;;) {
    pass(SPACE);
    const char = text[at];
    const closer = open.at(-1);
    if (next === 'more' && !closer) return char === undefined ? undefined : faultAt(text, at, 'nothing more');
    if (char !== undefined && char === closer && (next === 'more' || next === 'first')) {
      open.pop();
      at++;
      next = 'more';
    } else if (next === 'more') {
      if (char !== ',') return faultAt(text, at, `a comma or ${closer}`);
      at++;
      next = closer === '}' ? 'name' : 'value';
    } else if (next === 'colon') {
      if (char !== ':') return faultAt(text, at, 'a colon');
      at++;
      next = 'value';
    } else {
      const isName: boolean = closer === '}' && next !== 'value';
      const start = at;
      if (char === '"') {
        pass(TEXT);
        if (text[at] !== '"') return faultAt(text, at, QUOTE);
        at++;
        next = isName ? 'colon' : 'more';
      } else if (!isName && (char === '{' || char === '[')) {
        open.push(char === '{' ? '}' : ']');
        at++;
        next = 'first';
      } else {
        if (!isName) pass(WORD);
        if (at === start) return faultAt(text, at, (isName ? NAME : VALUE) + (next === 'first' ? ` or ${closer}` : ''));
        next = 'more';
      }
    }
  }
}

function faultAt(text: string, at: number, wanted: string): JsonFault {
  const before = text.slice(0, at).split('\n');
  const line = before.at(-1) ?? '';
  const shown = line.slice(-AROUND);
  const rest = (text.slice(at).split('\n', 1)[0] ?? '').slice(0, AROUND);
  return {
    line: before.length,
    column: line.length + 1,
    wanted,
    piece: `  ${`${shown}${rest}`.replaceAll(/\p{Cc}/gu, ' ')}\n  ${' '.repeat(shown.length)}^`,
  };
}

/** The fault as a sentence. */
export function saidOf({ line, column, wanted }: JsonFault): string {
  return `line ${line}, column ${column}, where ${wanted} is wanted`;
}
