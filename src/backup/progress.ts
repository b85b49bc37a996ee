/** Says on stderr how far something is: in place at a terminal, now and then elsewhere. */
export interface Progress {
  say(what: string): void;
  end(): void;
}

const EVERY_MS = { terminal: 200, elsewhere: 5_000 };

/** Starts with nothing said. */
export function createProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  const everyMs = stream.isTTY ? EVERY_MS.terminal : EVERY_MS.elsewhere;
  // Where lines stay, what is quick needs none.
  let next = stream.isTTY ? 0 : Date.now() + everyMs;
  let shown = false;
  return {
    say(what) {
      const now = Date.now();
      if (now < next) return;
      next = now + everyMs;
      stream.write(stream.isTTY ? `\r\x1b[K${what.slice(0, (stream.columns || 80) - 1)}` : `${what}\n`);
      shown = true;
    },
    end() {
      if (shown && stream.isTTY) stream.write('\r\x1b[K');
    },
  };
}

/** A number of bytes for a person. */
export function size(bytes: number): string {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB'];
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}
