import type { Nodes, RootContent } from 'mdast';
import { fromMarkdown } from 'mdast-util-from-markdown';
import { type Block, type ReadText, Unreadable } from './blocks.ts';
import { readHtml } from './html.ts';

/** Settings in front of the text, as site generators have them: a line of dashes, YAML, a line of dashes. */
const FRONT_MATTER = /^---[ \t]*\n([\s\S]*?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)/;
/** The second line of a table, which CommonMark takes for a paragraph. */
const TABLE = /^.*\|.*\n[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-*:?[ \t]*)*(?:\n|$)/;

/** What opens a quote or an item at the beginning of a line, where it may be followed by further ones. */
const OPENER = /[ \t]*(?:>|[-+*](?=[ \t])|\d{1,9}[.)](?=[ \t]))/y;
/** A line of marks that divides, which opens nothing. */
const RULE = /^[ \t]*([-*])(?:[ \t]*\1)*[ \t]*$/;
/** How much may be opened in one line: for each, the parser goes through the line again, and goes one call deeper. */
const MAX_OPENED = 50;

/** Whether a line opens more quotes and lists in each other than anybody means. Known before anything is parsed. */
function opensTooMany(line: string): boolean {
  let opened = 0;
  OPENER.lastIndex = 0;
  while (OPENER.test(line)) if (++opened > MAX_OPENED) return !RULE.test(line);
  return false;
}

/** Reads Markdown: what a reader sees, with code and tables as they stand there. */
export function readMarkdown(source: string): ReadText {
  const front = FRONT_MATTER.exec(source);
  const body = front ? source.slice(front[0].length) : source;
  if (body.split('\n').some(opensTooMany)) throw new Unreadable('The Markdown nests too deep.');
  const blocks = fromMarkdown(body).children.flatMap((node) => blocksOf(node, body));
  const first = blocks.find((block) => block.kind === 'heading');
  const named = /^title:[ \t]*["']?(.+?)["']?[ \t]*$/m.exec(front?.[1] ?? '')?.[1];
  return { title: named ?? (first?.level === 1 ? first.text : undefined), blocks };
}

function blocksOf(node: RootContent, source: string): Block[] {
  switch (node.type) {
    case 'heading':
      return [{ kind: 'heading', level: node.depth, text: oneLine(plain(node)) }];
    case 'code':
      return [{ kind: 'text', text: node.value, kept: true }];
    case 'html':
      return readHtml(node.value).blocks;
    case 'paragraph': {
      const written = source.slice(node.position?.start.offset, node.position?.end.offset);
      return [TABLE.test(written) ? { kind: 'text', text: written, kept: true } : textBlock(oneLine(plain(node)))];
    }
    default:
      return [textBlock(plain(node).trim())];
  }
}

function textBlock(text: string): Block {
  return { kind: 'text', text };
}

/** The text of a node as it is read, without marks and addresses. */
function plain(node: Nodes, indent = ''): string {
  switch (node.type) {
    case 'text':
    case 'inlineCode':
    case 'code':
      return node.value;
    case 'break':
      return '\n';
    case 'image':
      return node.alt ?? '';
    case 'list':
      return node.children
        .map((item, n) => {
          const mark = node.ordered ? `${(node.start ?? 1) + n}. ` : '- ';
          return `${indent}${mark}${plain(item, `${indent}  `).trim()}`;
        })
        .join('\n');
    case 'listItem':
    case 'blockquote':
      return node.children
        .map((child) => (child.type === 'paragraph' ? oneLine(plain(child)) : plain(child, indent)))
        .join('\n');
    default:
      return 'children' in node ? node.children.map((child) => plain(child, indent)).join('') : '';
  }
}

/** Line ends inside of a paragraph mean nothing. */
function oneLine(text: string): string {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '').join(' ');
}
