/** A part of a document in the order of its text. */
export type Block =
  /** A heading of level 1 (outermost) to 6. */
  | { kind: 'heading'; level: number; text: string }
  /** Running text; `kept` is for what should not be torn when it fits: code, tables. */
  | { kind: 'text'; text: string; kept?: boolean };

/** What was read out of a document. */
export interface ReadText {
  /** As the document itself says it. */
  title?: string;
  blocks: Block[];
}

/** A text without the empty lines before it and what is blank after it; a pattern for that would go through long blanks again and again. */
export function withoutEdges(text: string): string {
  return text.replace(/^\n+/, '').trimEnd();
}

/** Why a document cannot be read; the text is for its owner. */
export class Unreadable extends Error {
  override readonly name = 'Unreadable';
}
