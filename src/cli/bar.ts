import { duration, oneLine } from './terminal.ts';

/** One line on stderr that says how a task is, while somebody looks on; nothing where that is no terminal. */
export interface Bar {
  show(state: { status: string; percent?: number | null; message?: string | null }): void;
  /** Makes room for other text; the next `show` brings it back. */
  hide(): void;
  close(): void;
}

const WIDTH = 24;
const EVERY_MS = 500;

export function createBar(): Bar {
  const stream = process.stderr;
  if (!stream.isTTY) return { show() {}, hide() {}, close() {} };
  const started = Date.now();
  let state: Parameters<Bar['show']>[0] | undefined;
  const draw = () => {
    if (state) stream.write(`\r\x1b[K${line(state, Date.now() - started, stream.columns || 80)}`);
  };
  const hide = () => {
    if (state) stream.write('\r\x1b[K');
    state = undefined;
  };
  const timer = setInterval(draw, EVERY_MS);
  return {
    show(next) {
      state = next;
      draw();
    },
    hide,
    close() {
      clearInterval(timer);
      hide();
    },
  };
}

function line({ status, percent, message }: Parameters<Bar['show']>[0], ms: number, columns: number): string {
  const parts = [
    typeof percent === 'number'
      ? `[${'█'.repeat(Math.round((percent / 100) * WIDTH)).padEnd(WIDTH, '·')}] ${Math.round(percent)} %`
      : '',
    status,
    duration(ms),
    message ?? '',
  ];
  return oneLine(parts.filter(Boolean).join('  '), Math.max(10, columns - 1));
}
