import { TaskError } from '../../../errors.ts';

/** A secret that is shorter stands in any text. */
const MIN_SECRET_CHARACTERS = 6;

/** The text without any secret that the call took along, which some hosts echo: as it is, in JSON, and in addresses. */
export function withoutSecrets(text: string, secrets: string[]): string {
  return spellingsOf(secrets).reduce((clean, secret) => clean.replaceAll(secret, '***'), text);
}

/** The ways in which the secrets may be written. */
function spellingsOf(secrets: string[]): string[] {
  const all = secrets
    .filter((secret) => secret.length >= MIN_SECRET_CHARACTERS)
    .flatMap((secret) => {
      const encoded = [encodeURIComponent(secret), formOf(secret)];
      const lower = encoded.map((text) => text.replaceAll(/%[0-9A-F]{2}/g, (code) => code.toLowerCase()));
      return [secret, JSON.stringify(secret).slice(1, -1), ...encoded, ...lower];
    });
  return [...new Set(all)];
}

/**
 * The same for a text that comes in pieces, of which a secret may be in two: what may be the beginning of one is kept back until it is
 * known what comes after it.
 */
export function createHiding(
  secrets: string[],
  emit: (text: string) => void,
): { add(piece: string): void; end(): void } {
  const spellings = spellingsOf(secrets);
  const longest = Math.max(0, ...spellings.map(({ length }) => length));
  let kept = '';
  const tell = (text: string) => {
    if (text !== '') emit(text);
  };
  return {
    add(piece) {
      const text = withoutSecrets(kept + piece, secrets);
      let from = Math.max(0, text.length - longest + 1);
      while (from < text.length && !spellings.some((one) => one.startsWith(text.slice(from)))) from++;
      kept = text.slice(from);
      tell(text.slice(0, from));
    },
    end() {
      tell(kept);
      kept = '';
    },
  };
}

/** As a query says it. */
function formOf(secret: string): string {
  return new URLSearchParams([['', secret]]).toString().slice(1);
}

/** Takes the secrets out of all texts of a value. */
export function hideWithin<T>(value: T, secrets: string[]): T;
export function hideWithin(value: unknown, secrets: string[]): unknown {
  if (typeof value === 'string') return withoutSecrets(value, secrets);
  if (Array.isArray(value)) return value.map((one) => hideWithin(one, secrets));
  if (value === null || typeof value !== 'object') return value;
  // What is no JSON is refused by whoever keeps it.
  if (![Object.prototype, null].includes(Object.getPrototypeOf(value))) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [withoutSecrets(key, secrets), hideWithin(one, secrets)]),
  );
}

/** Takes the secrets out of what an error says; it stays the same one, so that who has told of it already is not forgotten. */
export function hideIn(error: unknown, secrets: string[]): void {
  if (!(error instanceof TaskError)) return;
  error.message = withoutSecrets(error.message, secrets);
  if (error.stack !== undefined) error.stack = withoutSecrets(error.stack, secrets);
}
