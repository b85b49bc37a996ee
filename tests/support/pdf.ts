/** A PDF of pages with lines of plain text, as small as one can be. */
export function makePdf(
  pages: string[][],
  { title, more = '' }: { title?: string; more?: string } = {},
): Buffer<ArrayBuffer> {
  const objects: string[] = [];
  const add = (body: string) => objects.push(body);
  const kids = pages.map((_, n) => `${4 + 2 * n} 0 R`).join(' ');
  add('<< /Type /Catalog /Pages 2 0 R >>');
  add(`<< /Type /Pages /Kids [${kids}] /Count ${pages.length} >>`);
  add('<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>');
  for (const [n, lines] of pages.entries()) {
    const stream = lines.map((line, row) => `BT /F1 12 Tf 50 ${750 - 20 * row} Td (${line}) Tj ET`).join('\n');
    const resources = '/Resources << /Font << /F1 3 0 R >> >>';
    add(`<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] ${resources} /Contents ${5 + 2 * n} 0 R >>`);
    add(`<< /Length ${stream.length} >>\nstream\n${stream}\nendstream`);
  }
  if (title) add(`<< /Title (${title}) >>`);
  let text = '%PDF-1.4\n';
  const offsets = objects.map((body, n) => {
    const at = text.length;
    text += `${n + 1} 0 obj\n${body}\nendobj\n`;
    return at;
  });
  const xref = text.length;
  text += `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n`;
  for (const at of offsets) text += `${String(at).padStart(10, '0')} 00000 n \n`;
  const info = title ? `/Info ${objects.length} 0 R` : '';
  text += `trailer\n<< /Size ${objects.length + 1} /Root 1 0 R ${info} ${more} >>\nstartxref\n${xref}\n%%EOF`;
  return Buffer.from(text, 'latin1');
}
