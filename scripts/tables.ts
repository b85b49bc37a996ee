/** A page with each marked table made anew. @throws Error where a table has no place */
export function fillTables(page: string, tables: Record<string, () => string>): string {
  return Object.entries(tables).reduce((text, [name, render]) => {
    const marked = new RegExp(`(<!-- table: ${name} -->\\n)[\\s\\S]*?(<!-- end of table -->)`);
    if (!marked.test(text)) throw new Error(`the page has no place for the table ${name}: <!-- table: ${name} -->`);
    return text.replace(marked, (_, start, end) => `${start}\n${render()}\n\n${end}`);
  }, page);
}

export const code = (text: string) => `\`${text}\``;

/** A table of Markdown. */
export function table(head: string[], rows: string[][]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
