/** One bar of two parts: the middle wait, and the one of the slowest in a hundred; in seconds. */
export interface Bar {
  label: string;
  p50: number;
  p99: number;
}

/** Bars that belong together. */
export interface Panel {
  title: string;
  groups: Array<{ label: string; bars: Bar[] }>;
}

const WIDTH = 760;
const LEFT = 210;
const RIGHT = 70;
const ROW = 16;
const COLORS = ['#8c96a3', '#d08a2e', '#2f7d5b'];
const INK = '#39424e';
/** From a hundredth of a second on, each power of ten as wide as the other. */
const [LEAST, MOST] = [-2, 5];

const x = (seconds: number) => {
  const at = (Math.log10(Math.max(seconds, 10 ** LEAST)) - LEAST) / (MOST - LEAST);
  return LEFT + Math.min(1, at) * (WIDTH - LEFT - RIGHT);
};
const round = (value: number) => Math.round(value * 10) / 10;
const spoken = (seconds: number) => (seconds < 10 ? seconds.toFixed(2) : Math.round(seconds).toLocaleString('en'));
const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const text = (at: number, y: number, what: string, more = '') =>
  `<text x="${round(at)}" y="${round(y)}" ${more}>${escaped(what)}</text>`;

/** Draws panels of bars as an SVG, over a scale of powers of ten. */
export function plot(panels: readonly Panel[], title: string): string {
  const parts: string[] = [];
  let y = 40;
  for (const panel of panels) {
    parts.push(text(12, y, panel.title, 'font-weight="600"'));
    const top = y + 8;
    y += 14;
    for (const group of panel.groups) {
      parts.push(text(LEFT - 110, y + (group.bars.length * ROW) / 2 + 4, group.label, 'text-anchor="end"'));
      for (const [index, { label, p50, p99 }] of group.bars.entries()) {
        const color = COLORS[index % COLORS.length];
        parts.push(
          text(LEFT - 6, y + 11, label, `text-anchor="end" fill="${color}" font-size="11"`),
          `<rect x="${LEFT}" y="${y + 2}" width="${round(Math.max(1, x(p99) - LEFT))}" height="${ROW - 5}" fill="${color}" opacity="0.35"/>`,
          `<rect x="${LEFT}" y="${y + 2}" width="${round(Math.max(1, x(p50) - LEFT))}" height="${ROW - 5}" fill="${color}"/>`,
          text(x(p99) + 5, y + 11, `${spoken(p50)} / ${spoken(p99)}`, 'font-size="11"'),
        );
        y += ROW;
      }
      y += 6;
    }
    for (let power = LEAST; power <= MOST; power++) {
      const at = round(x(10 ** power));
      parts.unshift(`<line x1="${at}" x2="${at}" y1="${top}" y2="${y}" stroke="#d5dae0"/>`);
      parts.push(text(at, y + 12, `${10 ** power} s`, 'text-anchor="middle" font-size="10" fill="#7b8591"'));
    }
    y += 40;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" font-family="system-ui, sans-serif" font-size="13" fill="${INK}">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${WIDTH}" height="${y}" fill="#ffffff"/>`,
    text(12, 18, title, 'font-size="12" fill="#7b8591"'),
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}
